"""What several commands have in common: the address of Redis and the name of a queue."""

from __future__ import annotations

import argparse
import os
from typing import TypeAlias

import redis

from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.keys import QueueKeys

# What add_subparsers returns has no public name.
Subcommands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001
DEFAULT_URL = "redis://127.0.0.1:6379/0"
URL_VARIABLE = "REDISQUEUE_REDIS_URL"


class UserError(Exception):
    """A mistake in the input; the message names it and the way out."""


def add_redis(parser: argparse.ArgumentParser) -> None:
    """Declare --redis-url and --key-separator."""
    parser.add_argument(
        "--redis-url",
        metavar="URL",
        default=os.environ.get(URL_VARIABLE) or DEFAULT_URL,
        help=f"redis:// or rediss:// URL (default: {URL_VARIABLE}, else {DEFAULT_URL})",
    )
    parser.add_argument(
        "--key-separator", default="::", metavar="TEXT", help="as in spec.queue (default: ::)"
    )


def connect(options: argparse.Namespace) -> redis.Redis:
    """A client for the address in the options. Raises UserError when it is no address."""
    try:
        client = ConnectionSettings(url=options.redis_url, client_name="redisqueue").connect()
    except ValueError as error:
        raise UserError(f"--redis-url: {error}") from error
    if not isinstance(client, redis.Redis):
        raise UserError(f"--redis-url: {options.redis_url} is not the address of a single server")
    return client


def queue_keys(options: argparse.Namespace) -> QueueKeys:
    """The keys of the queue that the options name."""
    return QueueKeys(options.queue, options.key_separator)


def count(text: str) -> int:
    """An int above zero, for argparse."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
