"""`redisqueue local`: a RedisQueue on this machine; the same engine, worker processes instead of pods."""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from redisqueue_operator import interruptible
from redisqueue_operator.api import parse
from redisqueue_operator.budget.resource import parse as parse_budget
from redisqueue_operator.budget.shares import Budgets
from redisqueue_operator.cli.commands.files.lint import problem_lines
from redisqueue_operator.cli.options import UserError
from redisqueue_operator.cli.screen import LogLine, Screen, ScreenHandler, table
from redisqueue_operator.local.definitions import DefinitionError, Definitions
from redisqueue_operator.local.platform import LocalPlatform
from redisqueue_operator.local.schedules import LocalSchedules
from redisqueue_operator.local.template import ignored_fields
from redisqueue_operator.loop.reconcile import Engine
from redisqueue_operator.serve.page.history import PageHistory
from redisqueue_worker.embedded_redis import BY_DESIGN, EmbeddedRedis
from redisqueue_worker.orphans import end_children_with_me

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redisqueue_operator.cli.options import Subcommands
    from redisqueue_operator.decide.status import EventRecord
    from redisqueue_operator.loop.rows import QueueRow

REDRAW_SECONDS = 0.25
PLAIN_SECONDS = 1.0
HEADER = ("QUEUE", "PENDING", "DELAYED", "IN FLIGHT", "FAILED", "DLQ", "REPLICAS", "READY", "BUSY", "REASON")


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("local", description=__doc__)
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="YAML with RedisQueues, their budgets and schedules, and their handlers' ConfigMaps",
    )
    parser.add_argument(
        "--redis-url", metavar="URL", help="use this Redis, not an embedded one; spec.redis is not used"
    )
    parser.add_argument(
        "--port", type=int, metavar="N", help="port of the embedded server (default: a free one)"
    )
    parser.add_argument(
        "--page",
        type=page_port,
        nargs="?",
        const=0,
        metavar="PORT",
        help="show the queues in a browser: --page takes a free port, --page=8081 that one",
    )
    parser.add_argument(
        "--handler-path",
        type=folder,
        action="append",
        metavar="DIR",
        help="folder to import handlers from; may be repeated (default: the folder of FILE, then this one)",
    )
    parser.add_argument(
        "--source",
        type=source_folder,
        action="append",
        metavar="NAME=DIR",
        help="folder with the files that the RedisQueue NAME has from worker.source.image; may be repeated",
    )
    parser.set_defaults(run=run)


def folder(text: str) -> Path:
    """One that is there, for argparse."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no folder")
    return path


def run(options: argparse.Namespace) -> int:
    """Run until Ctrl-C, then drain the workers; a second Ctrl-C ends them at once."""
    definitions = read_checked(options.file)
    check_sources(options.source or (), definitions, options.file)
    end_children_with_me()
    return interruptible.run(LocalRun(options, definitions).play())


def page_port(text: str) -> int:
    """A port that was given by name. Raises ArgumentTypeError, also for a FILE that was taken for one."""
    if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port: write FILE before --page, or --page=8081")


def source_folder(text: str) -> tuple[str, Path]:
    """The name of a RedisQueue and a folder. Raises ArgumentTypeError."""
    name, _, folder = text.partition("=")
    if not name or not folder:
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=DIR, as in emails=./handlers")
    if not Path(folder).is_dir():
        raise argparse.ArgumentTypeError(f"{folder!r} is no folder: name the one with the handler's files")
    return name, Path(folder)


def check_sources(sources: Iterable[tuple[str, Path]], definitions: Definitions, file: Path) -> None:
    """Raise UserError for a folder that nobody would look into."""
    queues = [parse(item) for item in definitions.queues.values()]
    known = sorted(
        each.key.name for each in queues if each.spec.worker.source and each.spec.worker.source.image
    )
    for name, _ in sources:
        if name not in known:
            have = f"it has {', '.join(known)}" if known else "it has none"
            raise UserError(
                f"--source {name}: no RedisQueue of this name with worker.source.image in {file} ({have})"
            )


def read_checked(path: Path, former: Definitions | None = None) -> Definitions:
    """The objects of a file that the API server would accept. Raises UserError naming what it would not.

    `former`: what they replace, for fields that are immutable.
    """
    try:
        definitions = Definitions.read(path)
    except DefinitionError as error:
        raise UserError(str(error)) from error
    before = former or Definitions()
    kinds = (
        (definitions.queues, before.queues),
        (definitions.budgets, before.budgets),
        (definitions.schedules, before.schedules),
    )
    problems = [
        line
        for present, replaced in kinds
        for place, item in present.items()
        for line in problem_lines(item, replaced.get(place))
    ]
    if problems:
        raise UserError("\n  ".join([f"{path} would be refused:", *problems]))
    return definitions


class LocalRun:
    """One `redisqueue local`, from start to end."""

    def __init__(self, options: argparse.Namespace, definitions: Definitions) -> None:
        self.file: Path = options.file
        self.url: str | None = options.redis_url
        self.port: int | None = options.port
        self.handler_path = options.handler_path or [self.file.parent, Path.cwd()]
        self.source_folders = dict(options.source or ())
        self.definitions = definitions
        self.budgets = Budgets()
        self.page_port: int | None = options.page
        self.screen = Screen()
        self._changed_at = self.file.stat().st_mtime_ns
        self._next_plain = 0.0

    async def play(self) -> int:
        """Start everything, draw until cancelled, clear up."""
        logging.basicConfig(
            handlers=[ScreenHandler(self.screen)], level=logging.WARNING, format="%(message)s"
        )
        async with AsyncExitStack() as stack:
            url = self.url or stack.enter_context(EmbeddedRedis(port=self.port)).url
            platform = LocalPlatform(
                self.definitions,
                redis_url=url,
                handler_path=self.handler_path,
                source_folders=self.source_folders,
                say=self._say,
                tell=self._tell,
            )
            stack.push_async_callback(self._drain, platform)
            schedules = LocalSchedules(self.definitions, redis_url=url, say=self._say_of_schedule)
            stack.push_async_callback(schedules.close)
            expected = BY_DESIGN if self.url is None else ()
            history = PageHistory(expected=expected) if self.page_port is not None else None
            engine = Engine(platform, page=history, budgets=self.budgets)
            if history is not None:
                await self._serve(stack, engine, history)
            platform.changed = engine.notify
            stop = asyncio.Event()
            self._limit()
            sharing = asyncio.create_task(self.budgets.run(), name="budgets")
            stack.callback(sharing.cancel)
            task = asyncio.create_task(engine.run(stop), name="engine")
            stack.push_async_callback(end, task, stop)
            self._greet(url)
            await self._watch((platform, schedules), engine, task)
        return 0

    async def _serve(self, stack: AsyncExitStack, engine: Engine, history: PageHistory) -> None:
        """The page, on this machine alone. Raises UserError when its port is taken."""
        from redisqueue_operator.serve.page.server import LOOPBACK, PageServer  # noqa: PLC0415 - takes long

        server = PageServer(
            self.page_port or 0,
            history=history,
            explain=engine.explain,
            letters=engine.letters,
            foot=f"redisqueue local {self.file.name}",
        )
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            raise UserError(f"--page: cannot listen on port {self.page_port}: {error.strerror}") from error
        self.screen.say(f"the page: http://{LOOPBACK}:{server.bound_port}/")

    async def _watch(
        self, loaded: tuple[LocalPlatform, LocalSchedules], engine: Engine, task: asyncio.Task[None]
    ) -> None:
        while not task.done():
            self._draw(engine.snapshot())
            await asyncio.wait([task], timeout=REDRAW_SECONDS)
            self._reload(*loaded)
        task.result()

    def _reload(self, *loaded: LocalPlatform | LocalSchedules) -> None:
        """Take the file again when it was saved; a faulty one changes nothing."""
        try:
            saved_at = self.file.stat().st_mtime_ns
        except FileNotFoundError:  # an editor is about to put the new one in its place
            return
        if saved_at == self._changed_at:
            return
        self._changed_at = saved_at
        try:
            self.definitions = read_checked(self.file, self.definitions)
            for each in loaded:
                each.load(self.definitions)
            self._limit()
        except UserError as error:
            self.screen.say(f"{error}\nthe former version stays in force")
        else:
            self.screen.say(f"{self.file} was saved: taken over")

    def _limit(self) -> None:
        """Have the budgets of the file in force, and no others."""
        present = {budget.key: budget for budget in map(parse_budget, self.definitions.budgets.values())}
        for key in self.budgets.sharings.keys() - present.keys():
            self.budgets.drop(key)
        for budget in present.values():
            self.budgets.put(budget)

    def _say(self, worker: str, line: str) -> None:
        """What a worker printed."""
        read = LogLine.read(line)
        if not self._expected(read.reason):
            self.screen.say(f"{worker} | {read.text}")

    def _say_of_schedule(self, schedule: str, line: str) -> None:
        self.screen.say(f"{schedule}: {line}")

    def _tell(self, queue: str, event: EventRecord) -> None:
        """What would be an Event in a cluster."""
        if not self._expected(event.reason):
            self.screen.say(f"{queue}: {event.reason}: {event.message}")

    def _expected(self, reason: str) -> bool:
        return self.url is None and reason in BY_DESIGN

    def _greet(self, url: str) -> None:
        say = self.screen.say
        for item in self.definitions.queues.values():
            rq = parse(item)
            say(f"{rq.key.name}: redisqueue publish {rq.spec.queue.name} --redis-url {url} MESSAGE")
            if ignored := ignored_fields(rq, self.source_folders):
                say(f"{rq.key.name}: not used in local mode: {', '.join(ignored)}")
        say(f"{self.file} is read again whenever it is saved; Ctrl-C drains the workers and ends.\n")

    def _draw(self, rows: list[QueueRow]) -> None:
        now = time.monotonic()
        if not self.screen.live and now < self._next_plain:
            return
        if not rows:
            return
        self._next_plain = now + PLAIN_SECONDS
        self.screen.draw(table(HEADER, [cells(row) for row in rows]), "\n".join(plain(row) for row in rows))

    async def _drain(self, platform: LocalPlatform) -> None:
        self.screen.leave()
        self.screen.say("draining the workers; Ctrl-C again ends them at once")
        await platform.close()


def cells(row: QueueRow) -> tuple[object, ...]:
    """A row of the table."""
    return (
        row.key.name,
        row.pending,
        row.delayed,
        row.in_flight,
        row.failed,
        row.dead_letter,
        row.replicas,
        row.ready,
        row.busy,
        row.reason,
    )


def plain(row: QueueRow) -> str:
    """The same as one line, for a log."""
    shown = ["?" if value is None else str(value) for value in (row.pending, row.in_flight, row.replicas)]
    return (
        f"{row.key.name}: pending {shown[0]}, in flight {shown[1]}, replicas {shown[2]} ({row.ready} ready)"
    )


async def end(task: asyncio.Task[None], stop: asyncio.Event) -> None:
    """Stop the engine and wait for it; its error, if any, was raised where it was watched."""
    stop.set()
    await asyncio.wait([task])
