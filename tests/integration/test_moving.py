"""One set of jobs on RQ, on Celery and here: the same results, and the same lines as on the pages."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.apps import APPS, JOURNAL, without_picture
from tests.support.environments import Unavailable, python_with
from tests.support.programs import output_of, running
from tests.support.readmes import ROOT, blocks
from tests.support.required import missing
from tests.support.waiting import eventually

from redis_message_queue import RedisMessageQueue

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import redis

MOVING = APPS / "moving"
DOCS = Path("worker/docs")
PEERS = {"rq": ("rq==3.0.0", "redis==8.1.0"), "celery": ("celery[redis]==5.7.0",)}


@dataclass
class Shop:
    """A folder of one of the three, the Python that runs it, and what its jobs have written down."""

    folder: Path
    python: str
    environment: dict[str, str]

    @property
    def journal(self) -> Path:
        return Path(self.environment["SHOP_JOURNAL"])

    def run(self, *words: str) -> str:
        """What Python prints there; it has to end well."""
        return output_of(self.python, *words, folder=self.folder, environment=self.environment)

    def worker(self, *words: str) -> AbstractContextManager[None]:
        """A program that runs on beside the test."""
        log = self.journal.with_suffix(".log")
        return running(self.python, *words, folder=self.folder, environment=self.environment, log=log)

    def noted(self) -> list[str]:
        """The lines of the journal once all are there, sorted; the picture's alone is not told."""

        def look() -> list[str] | None:
            lines = self.journal.read_text().splitlines()
            return lines if len(lines) > len(JOURNAL) else None

        lines = eventually(look, f"the jobs of {self.folder.name} are done")
        return without_picture(lines)


def shop(name: str, python: str, folder: Path, redis_url: str, *path: Path) -> Shop:
    """The program of that name; its journal is empty."""
    (journal := folder / "journal").touch()
    environment = {
        **os.environ,
        "REDIS_URL": redis_url,
        "SHOP_JOURNAL": str(journal),
        "PYTHONPATH": os.pathsep.join(map(str, (MOVING, *path))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "REDISQUEUE_RUN_DIR": str(folder / "run"),
    }
    return Shop(MOVING / name, python, environment)


def peer(name: str) -> str:
    """The Python that has it."""
    try:
        return str(python_with(f"moving-{name}", *PEERS[name]))
    except Unavailable as problem:
        missing(str(problem))


@pytest.mark.foreign_keys("of RQ")
def test_the_jobs_on_rq(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    there = shop("with_rq", peer("rq"), tmp_path, redis_url)
    with there.worker("-m", "rq.cli", "worker", "shop", "--url", redis_url, "--with-scheduler"):
        assert there.run("send.py") == "total 7\n"
        assert there.noted() == JOURNAL
        eventually(lambda: redis_client.zcard("rq:failed:shop") == 1, "the refund is failed")


@pytest.mark.foreign_keys("of Celery")
def test_the_jobs_on_celery(tmp_path: Path, redis_url: str) -> None:
    there = shop("with_celery", peer("celery"), tmp_path, redis_url)
    with there.worker("-m", "celery", "-A", "tasks", "worker", "--concurrency", "2"):
        assert there.run("send.py") == "total 7\n"
        assert there.noted() == JOURNAL


def test_the_jobs_here(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    here = shop("with_redisqueue", sys.executable, tmp_path, redis_url)
    options = (
        "--queue",
        "shop",
        "--redis-url",
        redis_url,
        "--concurrency",
        "2",
        "--results-ttl-seconds",
        "60",
    )
    with here.worker("-m", "redisqueue_worker.cli", "run", "jobs", *options, "--http-port", "0"):
        assert here.run("send.py") == "total 7\n"
        assert here.noted() == JOURNAL
        queue = RedisMessageQueue("shop", client=redis_client)
        (letter,) = eventually(queue.failed, "the refund is failed")
        assert letter.reason == "ValueError: order 7 is not paid"


# ---- what the pages say ----


def lines_of(folder: str) -> int:
    """The lines of code of one of the three, without what is empty or a remark."""
    texts = [path.read_text() for path in sorted((MOVING / folder).glob("*.py"))]
    return len([line for text in texts for line in text.splitlines() if line.strip() and line[0] != "#"])


@pytest.mark.parametrize("name", PEERS)
def test_a_page_shows_both_programs_and_counts_their_lines(name: str) -> None:
    page = DOCS / f"coming-from-{name}.md"
    shown = [block.text for block in blocks(page) if block.language == "python"]
    for folder in (f"with_{name}", "with_redisqueue"):
        for path in sorted((MOVING / folder).glob("*.py")):
            assert path.read_text() in shown, f"{path.relative_to(MOVING)} as it is"
    text = (ROOT / page).read_text()
    counted = re.search(r"\| lines of code \| (\d+) \| (\d+) \|", text)
    assert counted
    assert [int(count) for count in counted.groups()] == [
        lines_of(f"with_{name}"),
        lines_of("with_redisqueue"),
    ]
    for requirement in PEERS[name][:1]:
        assert requirement.replace("[redis]", "").replace("==", " ") in text.lower()
