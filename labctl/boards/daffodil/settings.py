"""How the board is used, and which patterns it must not have; pure.

The limits of the bench are judged by its host. They are judged here once more, in codes, so that what passes no limits
there drives nothing.
"""

from typing import List, NamedTuple, Tuple

from . import registers as reg
from .patterns import KEEP, READ, REST, WRITE, Pattern, bits, split

EVERY = (1 << reg.LINES) - 1
"""Mask of all lines of a kind."""


class Settings(NamedTuple):
    """How the board is used.

    Args:
        reference: code at which lines rest, which is that of the amplifiers' reference.
        closed: code of a closed gate: the ground of the chip.
        lowest: lowest code of a line, that of the ground of the chip.
        up: most codes that a column may be above a row, the reference among both. down: below.
        top_gate: highest code of a gate.
        m: gain word of every channel.
        c: offset word of every channel.
        clock: seconds.
        settle: seconds from the begin of an event to the first conversion.
        rest_clocks: length of an event of rest.
        columns: mask of columns that may be connected. rows: likewise.
        pots: codes of the potentiometers of 25 rows.
        swapped: gates 13 and 14 are on each other's channel.
    """

    reference: int = 2048
    closed: int = 1393
    lowest: int = 1393
    up: int = 2703
    down: int = 2703
    top_gate: int = reg.TOP_CODE
    m: int = 4094
    c: int = 0
    clock: float = 46.875e-9
    settle: float = 20e-6
    rest_clocks: int = 427
    columns: int = EVERY
    rows: int = EVERY
    pots: Tuple[int, ...] = (11,) * reg.LINES
    swapped: bool = False

    @property
    def at_rest(self) -> List[int]:
        """Codes of 25 columns, 25 rows and 25 gates at rest."""
        return [self.reference] * (2 * reg.LINES) + [self.closed] * reg.LINES


def wrong(pattern: Pattern, settings: Settings) -> str:
    """Return why the board must not have a pattern, with the limits that it was set up with; empty if it may."""
    columns, rows, gates = split(pattern.codes)
    mode = pattern.mode & ~REST
    if pattern.kernel >= reg.KERNELS:
        return f"kernel {pattern.kernel}; there are {reg.KERNELS}"
    if mode not in (READ, WRITE):
        return f"mode {pattern.mode}"
    if pattern.clocks < 1:
        return "an event of no clock"
    if pattern.column_on & ~settings.columns or pattern.row_on & ~settings.rows:
        return "a line is connected that must not be"
    if mode == READ and pattern.read & ~pattern.row_on:
        return "a row is read that is not connected"
    on_columns = [columns[i] for i in bits(pattern.column_on)]
    on_rows = [rows[i] for i in bits(pattern.row_on)] if mode == WRITE else []
    if any(not settings.lowest <= code <= reg.TOP_CODE for code in (*on_columns, *on_rows)):
        return f"a line that is connected has a code beyond {settings.lowest} to {reg.TOP_CODE}"
    if any(not (settings.closed <= code <= settings.top_gate or code == KEEP) for code in gates):
        return f"a gate has a code beyond {settings.closed} to {settings.top_gate}"
    if any(code > reg.TOP_CODE and code != KEEP for code in pattern.codes):
        return f"a line has a code beyond 0 to {reg.TOP_CODE}"
    on_columns.append(settings.reference)
    on_rows.append(settings.reference)
    up, down = max(on_columns) - min(on_rows), max(on_rows) - min(on_columns)
    if pattern.column_on != settings.columns or pattern.row_on != settings.rows:
        up = down = max(*on_columns, *on_rows) - min(*on_columns, *on_rows)  # a line that floats may be anywhere
    if up > settings.up or down > settings.down:
        return f"columns {up} codes above and {down} below rows; the most are {settings.up} and {settings.down}"
    return ""
