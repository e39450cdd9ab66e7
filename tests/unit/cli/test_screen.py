"""Tables: aligned, honest about the unknown, redrawn on a terminal only."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len

from redisqueue_operator.cli.screen import CUT, Screen, columns_of, cut, table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_numbers_are_aligned_right_and_words_left() -> None:
    assert table(("QUEUE", "PENDING"), [("a", 5), ("longer", 1200)]) == [
        "QUEUE   PENDING",
        "a             5",
        "longer     1200",
    ]


WIDE = ["注文", "ﾊﾝｶｸ", "\uff46\uff55ll", "주문", "naïve", "nai\u0308ve", "📦", "plain", ""]


def test_what_is_twice_as_wide_moves_no_column() -> None:
    lines = table(("QUEUE", "PENDING"), [(name, 5) for name in WIDE])
    assert len({cell_len(line) for line in lines}) == 1, lines


@pytest.mark.parametrize("number", range(len(WIDE)))
def test_a_line_is_cut_at_the_column_where_a_terminal_ends(number: int) -> None:
    line = WIDE[number] * 3
    assert columns_of(line) == cell_len(line)
    for width in range(1, 12):
        shown = cut(line, width)
        assert cell_len(shown) <= width
        assert shown == line or (shown.endswith(CUT) and cell_len(shown) >= width - 1)


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
