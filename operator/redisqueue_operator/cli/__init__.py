"""`redisqueue`, also `kubectl redisqueue`: what a person does with queues from a shell."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

import redis

from redis_message_queue.exceptions import ConfigurationError
from redis_message_queue.trouble import described
from redisqueue_operator.cli.options import UserError, check_texts
from redisqueue_operator.extras import way_out
from redisqueue_worker.embedded_redis import NoServerFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redisqueue_operator.cli.options import Subcommands

COMMANDS = (
    *("local", "lint", "enqueue", "publish", "top", "message", "peek", "dlq", "redrive", "repair"),
    *("explain", "drain", "acl"),
)
EXTRA = "local"
EPILOG = """\
examples:
  redisqueue local queue.yaml                     run its workers here, on an embedded Valkey
  redisqueue lint queue.yaml                      what the API server would say, without one
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
  kubectl redisqueue explain emails -n shop       why it has as many workers as it has
  redisqueue acl -f queue.yaml --role worker      the least rights in Redis
  kubectl redisqueue drain emails -n shop         no workers until --resume; what runs finishes
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    result = argparse.ArgumentParser(
        prog="redisqueue",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "--version", action="version", version=f"redisqueue {version('redis-queue-operator')}"
    )
    subcommands = result.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        add(command, subcommands)
    return result


def add(command: str, subcommands: Subcommands) -> None:
    """Declare one command; where its extra is not installed, one that says so whatever follows it."""
    try:
        import_module(f"redisqueue_operator.cli.commands.{command}").add_to(subcommands)
    except ModuleNotFoundError as missing:
        problem = way_out(missing, EXTRA)
        # Without prefix characters nothing that follows is an option.
        stand_in = subcommands.add_parser(command, help=problem, prefix_chars="\0", add_help=False)
        stand_in.add_argument("anything", nargs="*")
        stand_in.set_defaults(run=partial(refuse, f"{command} {problem}"))


def refuse(problem: str, _: argparse.Namespace) -> int:
    """In place of a command. Raises UserError."""
    raise UserError(problem)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; exits with 2 for wrong usage.

    argparse ends a list of words at the first flag: the words after it are put where the command wants them.
    """
    everything = parser()
    options, rest = everything.parse_known_args(argv)
    words = getattr(options, getattr(options, "words", ""), None)
    if rest and (words is None or any(word.startswith("-") for word in rest)):
        everything.error(f"unrecognized arguments: {' '.join(rest)}")
    if words is not None:
        words.extend(rest)
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. 0: done; 1: a problem, named on stderr; 2: wrong usage; 3: a duplicate, or not there.

    4: the message that was asked for has failed; 128 + n: a signal.
    """
    options = parse(argv)
    try:
        check_texts(options)
        result: int = options.run(options)
        sys.stdout.flush()
    except (UserError, ConfigurationError, NoServerFound) as error:
        print(f"redisqueue: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as missing:
        print(f"redisqueue: this {way_out(missing, EXTRA)}", file=sys.stderr)
        return 1
    except (redis.RedisError, redis.exceptions.RedisClusterException) as error:
        print(
            f"redisqueue: Redis: {described(error)} (its address: --redis-url or REDISQUEUE_REDIS_URL)",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return result
