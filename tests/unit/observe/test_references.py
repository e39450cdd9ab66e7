"""What the API server said of a Secret, a ConfigMap or a copy stays known, also while it does not answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.resources import redis_queue

from redisqueue_operator.api.model import Key
from redisqueue_operator.apply import stable_template
from redisqueue_operator.apply.stable_template import TEMPLATE, StableTemplates
from redisqueue_operator.decide.children.identity import CONFIG_HASH, OWNER_UID
from redisqueue_operator.errors import SettingsUnavailable
from redisqueue_operator.kubernetes_api import ApiError
from redisqueue_operator.observe import references
from redisqueue_operator.observe.references import References

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LOGIN = Key("shop", "login")
RQ = redis_queue(rollout={"strategy": "Versioned"})
MARKED = f'{{"metadata": {{"annotations": {{"{CONFIG_HASH}": "abc"}}}}}}'
AWAY = [ApiError(500, "InternalError", "no KMS"), ApiError(429, "TooManyRequests", ""), TimeoutError()]


class Server:
    """An API server that has an object, or fails."""

    def __init__(self) -> None:
        metadata = {"uid": "u", "resourceVersion": "1", "annotations": {OWNER_UID: RQ.uid}, "labels": {}}
        self.object: dict[str, Any] = {"metadata": metadata, "data": {TEMPLATE: MARKED}}
        self.failure: Exception | None = None
        self.asked = 0

    async def get(self, _path: str) -> dict[str, Any]:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return self.object


def readers(server: Any) -> dict[str, Callable[[], Awaitable[object]]]:
    known, copies = References(server), StableTemplates(server, server)

    async def copy() -> object:
        await copies.look_up(RQ)
        return copies.of(RQ)

    return {"Secret": lambda: known.secret(LOGIN), "ConfigMap": lambda: known.config_map(LOGIN), "copy": copy}


@pytest.fixture(autouse=True)
def _each_time_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(stable_template, "FRESH_SECONDS", 0.0)


@pytest.mark.parametrize("failure", AWAY, ids=repr)
@pytest.mark.parametrize("what", ["Secret", "ConfigMap", "copy"])
async def test_what_was_read_stays_known_while_nobody_answers(what: str, failure: Exception) -> None:
    server = Server()
    read = readers(server)[what]
    found = await read()
    server.failure = failure
    assert found is not None
    assert await read() == found


@pytest.mark.parametrize("what", ["Secret", "ConfigMap", "copy"])
async def test_what_was_never_read_is_not_known(what: str) -> None:
    server = Server()
    server.failure = AWAY[0]
    with pytest.raises(ApiError):
        await readers(server)[what]()


async def test_a_right_that_was_taken_away_is_told_although_the_secret_was_read() -> None:
    server = Server()
    read = readers(server)["Secret"]
    await read()
    server.failure = ApiError(403, "Forbidden", "no")
    with pytest.raises(SettingsUnavailable, match="may not read"):
        await read()


@pytest.mark.parametrize("what", ["Secret", "ConfigMap"])
async def test_what_may_not_be_read_is_not_asked_for_at_each_look(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server()
    read = readers(server)[what]
    monkeypatch.setattr(references, "ABSENT_SECONDS", float("inf"))
    server.failure = ApiError(403, "Forbidden", "no")
    for _ in range(3):
        with pytest.raises(SettingsUnavailable, match="may not read") as told:
            await read()
        assert told.value.reason == "Forbidden"
    assert server.asked == 1
    monkeypatch.setattr(references, "ABSENT_SECONDS", 0.0)
    server.failure = None
    assert await read() == server.object, "the right was given meanwhile"
