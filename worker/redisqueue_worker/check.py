"""The sub-command `check`: everything that is wrong, and nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.exceptions import NoPermissionError

from redis_message_queue.keys import QueueKeys
from redis_message_queue.server import ServerFacts, server_facts
from redis_message_queue.stats import QueueSample, sample
from redis_message_queue.trouble import AWAY, described, first_word
from redisqueue_worker.arguments import settings_of
from redisqueue_worker.commands import EXIT_NO_REDIS, EXIT_OK, EXIT_WRONG, complain
from redisqueue_worker.context import pool_problem
from redisqueue_worker.effective_policy import policies_of
from redisqueue_worker.exceptions import HandlerError
from redisqueue_worker.executors import in_words, slots_for, slots_problem
from redisqueue_worker.handlers import load, own_policies
from redisqueue_worker.hooks import around
from redisqueue_worker.metrics import folder_problem
from redisqueue_worker.server_check import missing_commands
from redisqueue_worker.settings import Settings, SettingsError, unknown_variables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redisqueue_worker.handlers import Handler


def check(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """`redisqueue-worker check`; the exit code. Says everything that is wrong, changes nothing."""
    try:
        settings = settings_of("check", arguments, environment)
    except SettingsError as error:
        return complain(error.problems)
    for name in unknown_variables(environment):
        print(f"warning: {name}")
    problems = [problem] if (problem := folder_problem(environment)) else []
    try:
        handler = load(settings.handler, settings.handler_path, settings.hooks)
        own = own_policies(handler, settings)
        if not own and (problem := slots_problem(settings.slots, handler)):
            problems.append(f"REDISQUEUE_SLOTS (--slots): {problem}")
        else:
            _print_handler(handler, settings)
    except HandlerError as error:
        problems.append(f"REDISQUEUE_HANDLER (--handler): {error}")
    unreachable = _check_redis(settings)
    complain([*problems, *unreachable])
    return EXIT_WRONG if problems else EXIT_NO_REDIS if unreachable else EXIT_OK


def _print_handler(handler: Handler, settings: Settings) -> None:
    policies = policies_of(handler.by_type, settings)
    kind = slots_for(handler) if settings.slots == "auto" else settings.slots
    if policies:
        kind = in_words({policy.slots for policy in policies.values()})
    print(f"handler  ok: {settings.handler} ({kind})")
    for name, policy in policies.items():
        print(f"handler  {name or settings.handler}: {policy}")
    if around:
        print(f"hooks    around each handler: {', '.join(hook.name for hook in around)}")


def _check_redis(settings: Settings) -> list[str]:
    """What is wrong with Redis; prints what is right."""
    where = settings.connection.redacted
    try:
        client = settings.connection.connect()
        if missing := missing_commands(client):
            return [f"Redis at {where} lacks commands that a worker needs: {', '.join(missing)}"]
        found = sample(client, [QueueKeys(settings.queue, settings.key_separator)])[0]
        facts = server_facts(client)
    except AWAY as error:
        return [f"Redis at {where}: {type(error).__name__}: {described(error)}"]
    if isinstance(found, Exception) and not _may_not_count(found):
        return [f"queue {settings.queue!r} at {where}: {type(found).__name__}: {described(found)}"]
    print(f"redis    ok: {where}")
    if problem := pool_problem(settings):
        print(f"redis    warning: {problem}")
    _print_facts(facts)
    if isinstance(found, QueueSample):
        print(
            f"queue    ok: {settings.queue}: {found.pending} pending, {found.in_flight} in flight, "
            f"{found.dead_letter} dead letters, {len(found.workers)} workers"
        )
    else:
        print(f"queue    unknown: this login may not count what is in {settings.queue}, as a worker need not")
    return []


def _may_not_count(error: Exception) -> bool:
    """Whether this login may run scripts on the queue, and lacks a right that only counting needs."""
    return first_word(error) == "NOPERM" and not isinstance(error, NoPermissionError)


def _print_facts(facts: ServerFacts) -> None:
    """Whether messages are safe there. That is no reason to fail: a worker runs there all the same."""
    for concern in facts.concerns:
        print(f"server   warning: {concern.reason}: {concern.text}")
    if facts.unknown:
        print(f"server   unknown: it does not tell this login {', '.join(facts.unknown)} (INFO, CONFIG GET)")
    if not facts.concerns and not facts.unknown:
        print(f"server   ok: {facts}")
