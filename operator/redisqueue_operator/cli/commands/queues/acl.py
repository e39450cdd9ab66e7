"""`redisqueue acl`: the least rights that each party of a queue needs in Redis, as lines for redis-cli.

Nothing is sent to Redis. Put passwords in the place of PASSWORD. In a cluster every node needs the lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis_message_queue.acl import DUTIES, ROLES, rules, set_user
from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.keys import QueueKeys
from redisqueue_operator.cli.address import resource
from redisqueue_operator.cli.options import QUEUE_HELP, UserError, add_json, add_place, as_json

if TYPE_CHECKING:
    import argparse

    from redisqueue_operator.api.model import Redis
    from redisqueue_operator.cli.options import Subcommands


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("acl", description=__doc__)
    parser.add_argument("queue", metavar="QUEUE", nargs="?", help=QUEUE_HELP)
    parser.add_argument(
        "--role",
        action="append",
        choices=ROLES,
        help="one of them, repeatable (default: all): "
        + "; ".join(f"{role}: {duty}" for role, duty in DUTIES.items()),
    )
    parser.add_argument(
        "--user", metavar="NAME", help="one user for these roles (default: one named as each)"
    )
    add_json(parser, "a list of objects: user, roles, rules, command")
    add_place(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print one line per user."""
    found = resource(options, options.queue)
    if found is not None:
        spec = found[0].spec
        keys = QueueKeys(spec.queue.name, spec.queue.key_separator)
        cluster, selects = spec.redis.mode == "Cluster", selects_database(spec.redis)
    elif options.queue:
        keys, cluster, selects = QueueKeys(options.queue, options.key_separator or "::"), False, False
    else:
        raise UserError("which queue? Give its name, rq/NAME for a RedisQueue of the cluster, or -f FILE")
    granted = {
        role: rules(role, keys, cluster=cluster, selects=selects, names_itself=True, tracks=True)
        for role in options.role or ROLES
    }
    users = {role: ([role], words) for role, words in granted.items()}
    if options.user:
        every = tuple(dict.fromkeys(word for words in granted.values() for word in words))
        users = {options.user: ([*granted], every)}
    if options.json:
        print(
            as_json(
                [
                    {"user": user, "roles": roles, "rules": [*words], "command": set_user(user, *words)}
                    for user, (roles, words) in users.items()
                ]
            )
        )
    else:
        print(*(set_user(user, *words) for user, (_, words) in users.items()), sep="\n")
    return 0


def selects_database(redis: Redis) -> bool:
    """Whether another database than 0 may be selected; a URL that is in a Secret may name one."""
    if redis.database is not None or redis.mode == "Cluster":
        return bool(redis.database)
    if redis.url is None:
        return True
    return ConnectionSettings(url=redis.url).redacted.rpartition("/")[2] != "0"
