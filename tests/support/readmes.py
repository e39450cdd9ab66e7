"""The code blocks of the READMEs, as they stand there."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LEFT_OUT = (".venv", ".venvs", ".git")
_BLOCKS = re.compile(r"^```(\w*)\n(.*?)^```|(?:\A|(?<=\n\n))((?: {4}[^\n]*\n)+)", re.DOTALL | re.MULTILINE)
# What only shows something: a drawing, or the formula of the scaling.
_DRAWN = ("─", "want = ")


@dataclass(frozen=True)
class Block:
    """One block: where it stands, its language (empty when none is given), its text."""

    where: str
    language: str
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command of a shell; empty for any other block."""
        if self.language not in ("", "console") or self.is_drawing or self.text.startswith(("ACL ", "FROM ")):
            return []
        lines = re.sub(r"\\\n", " ", self.text).splitlines()
        split = (shlex.split(line.removeprefix("$ "), comments=True) for line in lines)
        return [words for words in split if words]

    @property
    def needs_pods(self) -> bool:
        """Whether it is one story on a cluster with nodes, which tests/e2e/test_readme.py plays."""
        return "make cluster-up" in self.text and bool(self.commands)

    @property
    def is_drawing(self) -> bool:
        return any(mark in self.text for mark in _DRAWN)

    @property
    def file(self) -> str:
        """The name of the file that the first line says this is; empty when it is a program."""
        found = re.match(r"# (\S+\.(?:py|yaml))\n", self.text)
        return found[1] if found else ""


def pages() -> list[Path]:
    """Every README of the repository, and what lies in the folders `docs`."""
    found = (path.relative_to(ROOT) for path in (*ROOT.rglob("README.md"), *ROOT.glob("*/docs/*.md")))
    return sorted(path for path in found if path.parts[0] not in _LEFT_OUT)


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in their order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in _BLOCKS.finditer(text):
        content = match[2] or re.sub(r"^ {4}", "", match[3] or "", flags=re.MULTILINE)
        found.append(Block(f"{page}:{text[: match.start()].count(chr(10)) + 1}", match[1] or "", content))
    return found


def needs_cluster(words: list[str]) -> bool:
    """Whether a command asks an API server."""
    asked = any(word.startswith(("rq/", "rqr/", "rqs/")) for word in words) or "support-bundle" in words
    return words[0] == "kubectl" or asked
