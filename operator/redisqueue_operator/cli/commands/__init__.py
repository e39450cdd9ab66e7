"""The commands of `redisqueue`: `add_to(subcommands)` of a module declares them, `run(options)` does one.

A module is imported when one of its commands is called: `redisqueue --help` needs none of them.
"""

COMMANDS = {
    "local": ("files.local", "run a RedisQueue on this machine"),
    "lint": ("files.lint", "check RedisQueue files"),
    "import": ("files.import_scaledobject", "make RedisQueues of what KEDA scales"),
    "enqueue": ("queues.enqueue", "put messages into a queue, for later too, and say their ids"),
    "publish": ("queues.publish", "put messages into a queue"),
    "top": ("queues.top", "show queues, live"),
    "stats": ("queues.stats", "how many messages there are, where"),
    "workers": ("queues.stats", "who consumes a queue"),
    "show": ("queues.message", "where a message is"),
    "result": ("queues.message", "what became of a message"),
    "cancel": ("queues.message", "cancel a message"),
    "peek": ("queues.peek", "look at messages"),
    "dlq": ("queues.dlq", "dead letters: list, show, redrive, delete, purge"),
    "redrive": ("queues.redrive", "dead or failed letters back to pending"),
    "repair": ("queues.repair", "messages without a lease get one, and so come back"),
    "explain": ("cluster.explain", "why so many workers"),
    "stacks": ("cluster.stacks", "where handlers stand"),
    "pause": ("cluster.control", "keep the number of workers as it is"),
    "resume": ("cluster.control", "let the rules choose the number of workers again"),
    "scale": ("cluster.control", "fix the number of workers"),
    "drain": ("cluster.control", "stop the workers, losing nothing"),
    "logs": ("cluster.logs", "what all workers say, each line with its pod"),
    "support-bundle": ("cluster.support_bundle", "all that helps to look at a trouble, without secrets"),
    "acl": ("queues.acl", "the least rights in Redis"),
    "completion": ("files.completion", "completion for bash, zsh and fish"),
}
"""Of each: its module, below this one, and what `redisqueue --help` says of it."""
