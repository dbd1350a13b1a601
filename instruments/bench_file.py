"""Read a bench file: instruments with their wiring, or a board."""

from pathlib import Path

from instruments.bench import Bench
from instruments.board_bench import AnyBench, BoardBench
from instruments.entry import UNUSABLE
from instruments.open_bench import planned_die as planned_on_needles
from instruments.open_board import planned_board
from labctl import files
from labctl.core.bias import Nominal
from labctl.core.die import Die


def read_bench(path: Path, *, to_make_safe: bool = False) -> files.Loaded[AnyBench]:
    """Return what a bench file describes: a board if it names a `body`, instruments otherwise.

    Args:
        to_make_safe: an instrument whose driver cannot be used is kept with its fault; the others can be made safe.

    Raises:
        BenchError: with all that is wrong with the file.
    """
    content = files.document.read(path)
    root = content.root
    names_body = root is not None and root.child("body") is not None
    context = {UNUSABLE: to_make_safe}
    loaded: files.Loaded[AnyBench]
    if names_body:
        loaded = files.read(path, BoardBench, context=context, content=content)
    else:
        loaded = files.read(path, Bench, context=context, content=content)
    return loaded


def planned_die(bench: AnyBench, nominal: Nominal, polarity: int = 1) -> Die:
    """Return the die of a bench that is not connected: `check` works, everything else refuses."""
    if isinstance(bench, BoardBench):
        return planned_board(bench, nominal, polarity)
    return planned_on_needles(bench, nominal, polarity)
