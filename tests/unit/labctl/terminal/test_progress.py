"""Tables that fit without cutting a value, and lines that people can read."""

import io
from typing import Any

import pytest
from rich.console import Console

from labctl.terminal import progress
from labctl.terminal.progress import Column, Display, print_table

COLUMNS = (Column("die", right=False), Column("shown first", 3), Column("shown last", 0), Column("middle", 1))
ROWS = [("D80", "100.0 / 99.3", "7", "1,234,567"), ("a-long-name-of-a-die", "5.1 / 4.2", "12", "0")]


def printed(width: int, **more: Any) -> tuple[str, list[str]]:
    file = io.StringIO()
    missing = print_table(Console(file=file, width=width, highlight=False), "title", COLUMNS, ROWS, **more)
    return file.getvalue(), missing


def test_columns_go_by_measured_width_the_least_worthy_first() -> None:
    widths = range(20, 90)
    counts = [len(printed(width)[1]) for width in widths]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 0
    orders = {tuple(printed(width)[1]) for width in widths}
    assert orders == {
        (),
        ("shown last",),
        ("shown last", "middle"),
        ("shown first", "shown last", "middle"),
    }


@pytest.mark.parametrize("width", [12, 20, 36, 44, 53, 64, 90])
def test_no_value_is_cut_and_no_line_is_longer_than_the_screen(width: int) -> None:
    text, missing = printed(width)
    assert "\u2026" not in text
    assert max(map(len, text.splitlines())) <= width
    values = [(column.heading, row[k]) for row in ROWS for k, column in enumerate(COLUMNS) if k]
    assert all((value in text) == (heading not in missing) for heading, value in values if len(value) > 3)
    assert "".join(ROWS[1][0].split()) in "".join(text.split())


def test_a_sum_stands_below_a_line() -> None:
    plain, summed = printed(90)[0], printed(90, last=True)[0]
    assert len(summed.splitlines()) == len(plain.splitlines()) + 1


def test_where_there_is_no_terminal_lines_end_where_their_text_ends(capsys: pytest.CaptureFixture[str]) -> None:
    screen = progress.console()
    assert screen.width == 130
    print_table(screen, "title", COLUMNS, ROWS)
    progress.console(stderr=True).print("said  \n aside ")
    out, err = capsys.readouterr()
    assert "D80" in out
    assert all(line == line.rstrip() for line in (out + err).splitlines())
    assert err.split() == ["said", "aside"]


def test_no_sentence_is_broken_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = f"data could not be written: /{'long/' * 30}run: the disk is full"
    progress.console(stderr=True).print(f"{sentence}; free some space", markup=False)
    with progress.Display({}) as display:
        display.say(sentence)
    assert capsys.readouterr().err.splitlines() == [f"{sentence}; free some space", sentence]


def test_plain_lines_say_what_is_left_no_finer_than_anybody_knows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, *[2.0] * 2, *[4.0] * 2, *[4.01] * 2])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    with Display({"D80": 100, "D55": 100}, every=0.0) as display:
        display.notify("D80", "patterns", 50)
        display.notify("D80", "patterns", 50)
        display.notify("D55", "done", "good")
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "2.0 s: 25%, about 6 s left; "
    assert second.startswith("4.0 s: 50%, about 4 s left")
    assert "left" not in third
    assert "1 of 2 dies done: 1 good" in third


def test_a_die_under_way_is_never_all_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    with Display({"D80": 100}, every=0.0) as display:
        display.notify("D80", "stage", "survey")
        display.notify("D80", "patterns", 100)
        display.notify("D80", "patterns", 1)
    _, planned, over = (line.partition(": ")[2] for line in capsys.readouterr().err.splitlines())
    assert planned == over == "99%; D80 survey"


def test_a_die_that_is_tried_again_counts_once_and_by_its_newest_try() -> None:
    display = Display({"A": 5, "B": 5, "C": 5}, quiet=True)
    for die in "ABC":
        display.notify(die, "done", "contact" if die == "A" else "good")
    assert display._finished() == "3 of 3 dies done: 2 good, 1 contact"
    display.notify("A", "stage", "survey")
    assert (display._finished(), display._done["A"]) == ("2 of 3 dies done: 2 good", 0)
    display.notify("A", "patterns", 5)
    display.notify("A", "done", "good")
    display.notify("A", "done", "good")
    assert (display._finished(), display._done["A"]) == ("3 of 3 dies done: 3 good", 5)


def test_nothing_that_was_read_is_obeyed_by_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    screen = progress.console(stderr=True)
    garbled = "smu1 answered \x1b[2J\x9b31m\u202e\udce9"
    screen.print(garbled, markup=False)
    print_table(screen, garbled, (Column("die", right=False),), [(garbled,)])
    Display({"D1": 5}).say(garbled)
    shown = capsys.readouterr().err
    assert shown.count("smu1 answered \\x1b[2J\\x9b31m\\u202e\\udce9") == 4
    assert not [c for c in shown if not (c.isprintable() or c == "\n")]
