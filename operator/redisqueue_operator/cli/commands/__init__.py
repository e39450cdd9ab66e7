"""The commands of `redisqueue`, a module each: `add_to(subcommands)` declares it, `run(options)` does it."""
