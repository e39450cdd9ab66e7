"""`redisqueue`, also `kubectl redisqueue`: what a person does with queues from a shell."""

from __future__ import annotations

import argparse
import io
import os
import sys
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from redisqueue_operator.cli.commands import COMMANDS
from redisqueue_operator.cli.options import UserError, check_texts
from redisqueue_operator.cli.screen import harmless
from redisqueue_operator.extras import way_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redisqueue_operator.cli.options import Subcommands

EXTRA = "local"
COMPLETE = "__complete"
EPILOG = """\
examples:
  redisqueue local queue.yaml                     run its workers here, on an embedded Valkey
  redisqueue lint queue.yaml                      what the API server would say, without one
  redisqueue import scaledobject keda.yaml        KEDA's ScaledObject and its Deployment as a RedisQueue
  redisqueue enqueue emails '{"to": "ann@example.com"}' --delay 60
  tail -f jobs.jsonl | redisqueue publish jobs    one message per line
  redisqueue top                                  all queues of a Redis, live
  redisqueue stats --json                         the same once, for a script
  redisqueue workers emails                       who consumes it, and how busy each is
  redisqueue peek emails --of dead-letters        look, without taking anything out
  redisqueue show emails ID                       where a message is
  redisqueue result emails ID --timeout-seconds 30  what its handler returned, once it has
  redisqueue cancel emails ID                     never start it, or end it
  redisqueue dlq list emails                      what was given up, and why; show, redrive, delete, purge
  redisqueue redrive emails --dry-run             dead letters that would become pending again
  redisqueue repair emails --dry-run              messages in processing that nobody would take back
  kubectl redisqueue redrive rq/emails -n shop --rate 50 --field type=invoice
  kubectl redisqueue explain rq/emails -n shop    why it has as many workers as it has
  kubectl redisqueue stacks rq/emails -n shop     where the handler of each message in hand stands
  redisqueue acl -f queue.yaml --role worker      the least rights in Redis
  kubectl redisqueue pause rq/emails -n shop      keep the number of workers; resume, scale, drain
  kubectl redisqueue logs rq/emails -n shop -f    what all its workers say, also those to come
  kubectl redisqueue support-bundle -A            all that helps to look at a trouble, without secrets
  source <(redisqueue completion bash)            TAB completes; zsh, fish
"""


class ShowVersion(argparse.Action):
    """--version: looked up when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print it and end."""
        from importlib.metadata import version  # noqa: PLC0415 - nothing else needs it

        print(f"redisqueue {version('redis-queue-operator')}")
        parser.exit()


def parser(command: str = "") -> argparse.ArgumentParser:
    """The whole command line: of this command all that it takes, of others what they are for."""
    result = argparse.ArgumentParser(
        prog="redisqueue",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--version", action=ShowVersion, nargs=0, help="show the version and end")
    subcommands = result.add_subparsers(title="commands", metavar="COMMAND", required=True)
    called = COMMANDS.get(command, ("", ""))[0]
    for name, (module, summary) in COMMANDS.items():
        if module != called:
            subcommands.add_parser(name, help=summary)
    if called:
        add(command, called, subcommands)
    return result


def add(command: str, module: str, subcommands: Subcommands) -> None:
    """Declare the commands of a module; where its extra is not installed, one that says so."""
    try:
        import_module(f"redisqueue_operator.cli.commands.{module}").add_to(subcommands)
    except ModuleNotFoundError as missing:
        # Without prefix characters whatever follows is no option.
        stand_in = subcommands.add_parser(command, prefix_chars="\0", add_help=False)
        stand_in.add_argument("anything", nargs="*")
        stand_in.set_defaults(run=partial(refuse, f"{command} {way_out(missing, EXTRA)}"))


def refuse(problem: str, _: argparse.Namespace) -> int:
    """In place of a command. Raises UserError."""
    raise UserError(problem)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options; exits with 2 for wrong usage.

    argparse ends a list of words at the first flag: the words after it are put where the command wants them.
    """
    everything = parser(*words[:1])
    options, rest = everything.parse_known_args(words)
    more = getattr(options, getattr(options, "words", ""), None)
    if rest and (more is None or any(word.startswith("-") for word in rest)):
        everything.error(f"unrecognized arguments: {' '.join(rest)}")
    if more is not None:
        more.extend(rest)
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. 0: done; 1: a problem, named on stderr; 2: wrong usage; 3: a duplicate, or not there.

    4: the message that was asked for has failed; 128 + n: a signal.
    """
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == [COMPLETE]:
        from redisqueue_operator.cli.completing import complete  # noqa: PLC0415 - a shell asks for it alone

        print(*complete(parser, words[1:]), sep="\n")
        return 0
    options = parse(words)
    if isinstance(sys.stdout, io.TextIOWrapper):  # half a surrogate pair in JSON, a terminal that is no UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        check_texts(options)
        result: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        problem = described(error)
        if problem is None:
            raise
        print(f"redisqueue: {harmless(problem)}", file=sys.stderr)
        return error.exit_code if isinstance(error, UserError) else 1
    return result


def described(error: Exception) -> str | None:
    """What a person is told of it; None for a fault of this program."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return f"this {way_out(error, EXTRA)}"
    # Whoever asks for help, or misspells a command, does not wait for a Redis client.
    from redis.exceptions import RedisClusterException, RedisError  # noqa: PLC0415

    from redis_message_queue import trouble  # noqa: PLC0415
    from redis_message_queue.exceptions import ConfigurationError  # noqa: PLC0415
    from redisqueue_worker.embedded_redis import NoServerFound  # noqa: PLC0415

    if isinstance(error, (ConfigurationError, NoServerFound)):
        return str(error)
    if isinstance(error, (RedisError, RedisClusterException)):
        return f"Redis: {trouble.described(error)} (its address: --redis-url or REDISQUEUE_REDIS_URL)"
    return None


def complete_for_kubectl() -> int:
    """`kubectl_complete-redisqueue`: what kubectl runs for `kubectl redisqueue TAB`."""
    return main([COMPLETE, *sys.argv[1:]])
