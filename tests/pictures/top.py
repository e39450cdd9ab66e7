"""`redisqueue top` as a terminal shows it, of some queues: light and dark."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI
from tests.pictures.page import shot_of
from tests.support.browser import browsing

from redis_message_queue.stats import QueueSample, WorkerState
from redisqueue_operator.cli.live.looks import LiveQueue, LiveView
from redisqueue_operator.cli.live.picture import picture
from redisqueue_operator.decide.scaling.decision import Rates

if TYPE_CHECKING:
    from pathlib import Path

    from rich.terminal_theme import TerminalTheme

COLUMNS, LINES = 132, 9
AT = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
COMMAND = "$ redisqueue top --redis-url redis://redis.shop.svc:6379/0"
STYLE = (
    "margin:0;padding:16px 20px;display:inline-block;font:14px/1.35 'DejaVu Sans Mono',monospace;"
    "color:{ink};background:{paper}"
)


class Scheme(NamedTuple):
    """How a terminal looks."""

    theme: TerminalTheme
    ink: str
    paper: str


SCHEMES = {
    "top-light": Scheme(DEFAULT_TERMINAL_THEME, "#1b1f24", "#ffffff"),
    "top-dark": Scheme(MONOKAI, "#e6edf3", "#14181d"),
}


def queue(
    name: str,
    pending: tuple[int, ...],
    workers: tuple[tuple[int, int], ...] = (),
    rates: Rates = Rates(),  # noqa: B008 - it is frozen
    **counters: int,
) -> LiveQueue:
    """A queue with its last numbers of pending messages, and (slots, busy) of each worker."""
    states = tuple(
        WorkerState(f"{name}-{n}", 1, "", "", slots, busy, None, False, "", 0, False)
        for n, (slots, busy) in enumerate(workers)
    )
    busy = sum(state.busy for state in states)
    numbers = {"completed": 0, "failed": 0, "dead_letter": 0, "delayed": 0, "expired": 0, **counters}
    sample = QueueSample(
        pending=pending[-1],
        in_flight=busy,
        processing=busy,
        delayed_due=0,
        next_due_seconds=None,
        next_expiry_seconds=None,
        claims_total=1,
        time_ms=0,
        workers=states,
        **numbers,
    )
    return LiveQueue(name, sample, "", rates, pending=pending)


def seen() -> LiveView:
    """A morning's work."""
    wave = tuple(max(0, 40 - abs(20 - n % 40) * 2) for n in range(60))
    rising = tuple(n * n // 20 for n in range(60))
    falling = tuple(900 - n * 11 for n in range(60))
    queues = (
        queue("exports", falling, ((4, 4),) * 4, Rates(2.1, 6.3, 40.0, 251, 184.0), delayed=12),
        queue("imports", rising, ((8, 8),) * 6, Rates(21.7, 17.2, None, 174, 9.0)),
        queue("invoices", wave, ((4, 2),) * 3, Rates(3.6, 3.6, 0.8, 2, 1.0), dead_letter=7),
        queue("newsletters", (0,) * 60, (), Rates(0.0, 0.0, None, 0, None), delayed=2400),
        queue("thumbnails", tuple(n % 7 for n in range(60)), ((16, 9),), Rates(6.0, 6.0, 0.3, 3, 0.4)),
        LiveQueue("webhooks", None, "NOPERM: this user may not read keys of the queue"),
    )
    return LiveView(queues, (), AT)


async def draw(chromium: Path, folder: Path) -> None:
    """Write the pictures into the folder."""
    text = picture(seen(), "redis://redis.shop.svc:6379/0", AT, (COLUMNS, LINES), ascii_only=False)
    async with browsing(chromium) as browser:
        for name, scheme in SCHEMES.items():
            console = Console(
                record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor", force_terminal=True
            )
            console.print(text, soft_wrap=True)
            inside = console.export_html(theme=scheme.theme, inline_styles=True, code_format="{code}")
            style = STYLE.format(ink=scheme.ink, paper=scheme.paper)
            body = f'<body style="margin:0"><pre style="{style}">{COMMAND}\n{inside}</pre>'
            (folder / f"{name}.png").write_bytes(await shot_of(browser, body))
