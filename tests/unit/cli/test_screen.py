"""Tables: aligned, honest about the unknown, redrawn on a terminal only."""

from __future__ import annotations

import io

from redisqueue_operator.cli.screen import Screen, table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_numbers_are_aligned_right_and_words_left() -> None:
    assert table(("QUEUE", "PENDING"), [("a", 5), ("longer", 1200)]) == [
        "QUEUE   PENDING",
        "a             5",
        "longer     1200",
    ]


def test_the_unknown_is_not_shown_as_zero() -> None:
    assert table(("QUEUE", "PENDING"), [("a", None)])[1].split() == ["a", "?"]


def test_names_of_others_move_no_cursor_and_begin_no_line() -> None:
    assert table(("QUEUE", "PENDING"), [("a\x1b[2J\nb\ud800", 5)])[1:] == ["a\\x1b[2J\\nb\\ud800        5"]


def test_a_table_without_rows_is_its_header() -> None:
    assert table(("QUEUE", "PENDING"), []) == ["QUEUE  PENDING"]


def test_a_terminal_redraws_the_block_in_place() -> None:
    out = Terminal()
    screen = Screen(out)
    screen.draw(["one", "two"])
    screen.draw(["three", "four"])
    assert out.getvalue() == "one\ntwo\n\x1b[2F\x1b[Jthree\nfour\n"


def test_a_line_goes_above_the_block() -> None:
    out = Terminal()
    screen = Screen(out)
    screen.draw(["block"])
    screen.say("news")
    assert out.getvalue() == "block\n\x1b[1F\x1b[Jnews\nblock\n"


def test_a_pipe_gets_plain_lines_and_only_when_something_changed() -> None:
    out = io.StringIO()
    screen = Screen(out)
    for pending in (5, 5, 4):
        screen.draw(["HEADER", str(pending)], plain=f"pending {pending}")
    screen.say("end")
    assert out.getvalue() == "pending 5\npending 4\nend\n"
