"""What was read by hand, in the words of the terminal."""

import io

import pytest
from rich.console import Console

from labctl.report.by_hand import show

ROW = {
    "kernel": 0, "row": 3, "col": 4, "v_read": 0.1, "conductance": 1.9e-4, "flag": 0, "state": "ap",
}  # fmt: skip
PULSED = {"target": False, "voltage": 0.45, "width": 1e-3, "verified": False, "pulse_flag": 0}


def text(row):
    screen = Console(file=io.StringIO(), width=200)
    show(row, screen)
    return screen.file.getvalue()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "column 4: 190 uS (5.263 kohm) at 100 mV, reads AP\n"),
        (
            {"conductance": 2e-9, "state": "open"},
            "column 4: 0.002 uS (5e+05 kohm) at 100 mV, reads OPEN, and not AP\n",
        ),
        ({"state": "p"}, "reads P\n"),
        ({"state": "unreadable", "flag": 1}, "reads neither P nor AP, compliance\n"),
        ({"state": "open", **PULSED}, "reads OPEN, and not AP; after 450 mV, 1 ms towards AP: NOT verified\n"),
    ],
)
def test_a_cell_is_p_or_ap_or_open(change, words):
    assert words in text({**ROW, **change})


def test_a_map_marks_open_cells_and_what_is_not_known():
    rows = {"conductance": [[1.9e-4, 2e-9, None]], "flag": [[0, 0, 8]], "state": [["ap", "open", "unreadable"]]}
    assert text({**ROW, **rows}).splitlines()[1] == "  0   190  open     ?!"
