"""The shipped bench and dies cut down to one array as large as the first layer of the network for Wine."""

import re

from tests.e2e.conftest import EXAMPLES

ROWS, COLS = 13, 12
CHANGE = {"geometry": {"kernels": 1, "n_rows": ROWS, "n_cols": COLS}}
"""What a die of 15 x 15 cells is changed by in a campaign."""
PLACEMENT = [{"kernel": 0, "row": 0, "col": 0}] * 2
"""Both layers on the same array, one after the other."""


def bench_text():
    """Return the text of a bench for dies of that array."""
    text = (EXAMPLES / "bench-two-arrays.yaml").read_text(encoding="utf-8")
    text, second = re.subn(r" +- rows: \[c0.*\]\n +cols: \[d0.*\]\n", "", text)
    assert second == 1
    for lines, line, n in (("rows", "a", ROWS), ("cols", "b", COLS)):
        text = re.sub(rf"{lines}: \[{line}0.*\]", f"{lines}: [{', '.join(f'{line}{k}' for k in range(n))}]", text)
    return re.sub(r"structures: .*", f"structures: [[a0, b0], [a{ROWS - 1}, b{COLS - 1}]]", text)
