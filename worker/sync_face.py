"""Write the sync face of the library from its source, the asyncio face.

    .venv/bin/python worker/sync_face.py [--check]

Each module of `redis_message_queue/asyncio/` becomes one of the same name a folder up, all but `_io`, which
is there twice, by hand, for what a thread does otherwise. In modules that hold both faces the functions named
`..._async` become those below `MARK`, unless one of that name is written by hand.

It goes by tokens: `async` and `await` are dropped, `.asyncio` in dotted names, `_async` at the end of names
and `Async` at their beginning, and `Awaitable[X]` is `X`. NAMES and WORDS say what else differs.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tempfile
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "worker" / "redis_message_queue"
BY_HAND = {"_io.py"}
HEADER = "# Written by worker/sync_face.py from asyncio/{}: change that.\n"
MARK = "# -- The sync face, written by worker/sync_face.py from what is above: change that. --\n"

NAMES = {
    "asynccontextmanager": "contextmanager",
    "aclose": "drain",
    "drain": "close",
    "_ASYNCIO": "_BLOCKING",
}
# Functions of `_io` that nothing is left of: they are about what is awaited.
DROPPED = {"awaited", "finished"}
# In docstrings.
WORDS = {
    "The queue for asyncio: the same names as in `redis_message_queue`.": (
        "A queue on Redis lists: publish once, process at least once, lose nothing."
    ),
    "The queue for asyncio.": "The queue.",
    "Tasks may share a queue. It belongs to the event loop of its client: build client and queue anew in\n"
    "    another loop, another thread, or after a fork.": (
        "Threads may share a queue, publishing, processing and draining at once. A child of a fork may go\n"
        "    on with its parent's queue, except with a message that is in hand: that one stays the parent's."
    ),
    " propagates; a cancellation\n"
    "        from outside settles nothing, so the message comes back when its lease ends. In the block\n": (
        " propagates. In the block\n"
    ),
    "Tasks ": "Threads ",
    "another task": "another thread",
    "an asyncio queue": "a sync queue",
    "redis.asyncio": "redis",
    "`async with`": "`with`",
    "`aclose()`": "`drain()`",
}


def sync(source: str) -> str:
    """The text of the same code for threads; it is still to be formatted."""
    lines = source.splitlines(keepends=True)
    tokens = list(_tokens(source))
    written: list[str] = []
    at, glued, gone = (1, 0), False, set[int]()
    place = 0
    while place < len(tokens):
        token = tokens[place]
        gap = "" if glued else _between(lines, at, token.start)
        following = [each.string for each in tokens[place + 1 : place + 3]]
        glued, taken, text = False, 1, token.string
        if place in gone:
            text = ""
        elif text in ("async", "await") and token.type == tokenize.NAME:
            glued, text = True, ""
        elif text == "." and following[:1] == ["asyncio"]:
            taken, text = 2, ""
        elif text == "_io" and following[:1] == ["."] and following[1] in DROPPED:
            taken, text = 3, ""
            last = _end_of_call(tokens, place + 3)
            if tokens[last].start[0] == token.start[0]:
                taken = 4  # with its brackets
                gone.add(last)
        elif token.type == tokenize.NAME:
            text = NAMES.get(text) or text.removesuffix("_async").removeprefix("Async")
        elif token.type == tokenize.COMMENT and "noqa: ASYNC" in text:
            gap = text = ""
        elif token.type == tokenize.STRING and text.startswith('"""'):
            for word, other in WORDS.items():
                text = text.replace(word, other)
        written += gap, text
        at = tokens[place + taken - 1].end
        place += taken
    written.append(_between(lines, at, (len(lines), len(lines[-1]))))
    return _without_awaitables("".join(written)) + "\n"


def _tokens(source: str) -> Iterator[tokenize.TokenInfo]:
    """All that is written; an f-string is one token, as it was before Python 3.12."""
    first, last = (getattr(tokenize, f"FSTRING_{end}", None) for end in ("START", "END"))
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        depth += (token.type == first) - (token.type == last)
        if not depth and token.type != last and token.string.strip():
            yield token


def _end_of_call(tokens: list[tokenize.TokenInfo], place: int) -> int:
    """Where the bracket that opens at `place` closes."""
    depth = 0
    while True:
        depth += {"(": 1, ")": -1}.get(tokens[place].string, 0)
        if not depth:
            return place
        place += 1


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    (row, column), (last, until) = start, end
    if row == last:
        return lines[row - 1][column:until]
    return "".join((lines[row - 1][column:], *lines[row : last - 1], lines[last - 1][:until]))


def _without_awaitables(text: str) -> str:
    """`Awaitable[X]` is `X`, and what are alternatives no more is written once."""
    while found := re.search(r"\bAwaitable\[", text):
        depth, end = 1, found.end()
        while depth:
            depth += {"[": 1, "]": -1}.get(text[end], 0)
            end += 1
        text = text[: found.start()] + text[found.end() : end - 1] + text[end:]
    return re.sub(r"\b(\w+) \| \1\b", r"\1", text)


def with_twins(source: str) -> str:
    """The module with, below `MARK`, the sync twins of its asyncio functions."""
    source = source.partition(MARK)[0]
    functions = [
        node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    by_hand = {function.name for function in functions}
    twins = [
        sync(str(ast.get_source_segment(source, function)))
        for function in functions
        if function.name.endswith("_async") and function.name.removesuffix("_async") not in by_hand
    ]
    return source + MARK + "\n\n" + "\n\n".join(twins)


def written() -> dict[Path, str]:
    """What all modules that are written, or written in part, have to be."""
    texts = {
        LIBRARY / path.name: HEADER.format(path.name) + sync(path.read_text())
        for path in sorted((LIBRARY / "asyncio").glob("*.py"))
        if path.name not in BY_HAND
    }
    both = {path: path.read_text() for path in sorted(LIBRARY.glob("*.py")) if path not in texts}
    texts |= {path: with_twins(text) for path, text in both.items() if MARK in text}
    return _formatted(texts)


def _formatted(texts: dict[Path, str]) -> dict[Path, str]:
    ours = "lint.isort.known-first-party=['redis_message_queue']"
    config = ("--quiet", f"--config={ROOT / 'pyproject.toml'}", f"--config={ours}")
    with tempfile.TemporaryDirectory() as folder:
        copies = {path: Path(folder, path.name) for path in texts}
        for path, copy in copies.items():
            copy.write_text(texts[path])
        for rule in (("check", "--select=I,F401", "--fix"), ("format",)):
            command = (sys.executable, "-m", "ruff", *rule, *config, folder)
            subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603 - our own words
        return {path: copy.read_text() for path, copy in copies.items()}


def main() -> int:
    """Write the modules; with `--check` only say which are not as they would be written."""
    stale = {path: text for path, text in written().items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        print("stale:" if "--check" in sys.argv else "written:", path.relative_to(ROOT))
        if "--check" not in sys.argv:
            path.write_text(text)
    return int("--check" in sys.argv and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
