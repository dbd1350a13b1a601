"""Whether the needles between a board and its die touch: every line is read by the board, at a harmless voltage.

Of a passive die all rows at once tell the columns, one row after the other tells the rows. Of a die with gates all rows
are read behind closed gates first, when nothing may conduct: needles that stand on other pads short lines. Then the
gates of one row at a time open, as far as the bench file allows, and the sum over the rows tells the columns. A line
touches if it conducts a part of what its cells in AP would, of which some may be open. Kernels of an integrated chip
are behind switches of the chip and share its pads, so one that conducts proves a line; those of a passive die have pads
of their own, and each is read.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from instruments.board_bench import BoardBench
from labctl.core.bias import Bias, Geometry, Kind
from labctl.core.board import Stepped
from labctl.core.die import Die
from labctl.core.errors import ContactError, ContactUnread
from labctl.core.operations import Sense
from labctl.core.units import BoolArray, FloatArray, Ohm, Second

NAMED = 6
"""Most lines that a message names."""
AGAIN = (
    "try it again, and if it stays look at the link to the board; a line that is never connected belongs into its entry"
)


def line_reads(bench: BoardBench, geometry: Geometry, kernel: int) -> tuple[Sense, Sense]:
    """Return the reads of the lines of one kernel: all rows at once, behind closed gates if it has any; row by row."""
    n, m = geometry.n_rows, geometry.n_cols
    gated = geometry.kind is not Kind.PASSIVE

    def sense(driven: FloatArray, gate: FloatArray) -> Sense:
        volts = bench.contact.voltage * driven
        bias = Bias(
            volts,
            np.zeros((len(driven), m)),
            gate if gated else None,
            kernel=np.array(kernel),
            compliance=bench.limits.compliance,
        )
        return Sense(bias, np.arange(m))

    return sense(np.ones((1, n)), np.zeros((1, n))), sense(np.eye(n), bench.limits.v_gate * np.eye(n))


def contact_time(bench: BoardBench, die: Die) -> Second:
    """Return the predicted time of proving contact, s: of a chip by its first kernel, of a passive die by all."""
    shape = die.geometry
    kernels = shape.kernels if shape.kind is Kind.PASSIVE else 1
    return sum(die.check(read) for kernel in range(kernels) for read in line_reads(bench, shape, kernel))


@dataclass(frozen=True)
class LineShares:
    """How much the lines of a die conduct, in what their cells in AP would.

    Args:
        share: (n_rows + n_cols,), NaN of lines that are not in use or unread. ohm: resistance at a share of 1.
        unread: (n_rows + n_cols,), lines in use of which no reading was valid.
        kernel: in operator words, "" if there is nothing to tell apart.
        n_rows: how many of the lines are rows.
    """

    share: FloatArray
    ohm: FloatArray
    unread: BoolArray
    kernel: str
    n_rows: int

    def name(self, k: int) -> str:
        """Return what a line is called."""
        kind = f"row {k}" if k < self.n_rows else f"column {k - self.n_rows}"
        return f"{self.kernel} {kind}".strip()

    def resistance(self, k: int) -> Ohm:
        """Return the resistance of a line, ohm."""
        return float(self.ohm[k] / self.share[k]) if self.share[k] > 0 else float("inf")

    def text(self, k: int) -> str:
        """Return a line and its resistance."""
        ohm = self.resistance(k)
        return f"{self.name(k)} {f'{ohm / 1e3:.3g} kohm' if np.isfinite(ohm) else 'open'}"


def line_shares(bench: BoardBench, die: Die, board: object) -> list[LineShares]:
    """Read the lines of a die: of a chip one set, by as many kernels as prove them; of a passive die one per kernel.

    Args:
        die: behind the limits of the bench.
        board: one that tells what it applies leaves out the lines that it never connects.

    Raises:
        ContactError: a column conducts behind closed gates; no gate was opened.
        ContactUnread: a column has no valid reading there; no gate was opened.
    """
    shape = die.geometry
    if shape.kind is Kind.PASSIVE:
        several = shape.kernels > 1
        return [_read(bench, die, kernel, board, f"kernel {kernel}" * several) for kernel in range(shape.kernels)]
    lines = _read(bench, die, 0, board, "")
    for kernel in range(1, shape.kernels):
        if not (lines.unread | (lines.share < bench.contact.least)).any():
            break
        other = _read(bench, die, kernel, board, "")
        better = lines.unread | (other.share > lines.share)
        share, ohm = np.fmax(lines.share, other.share), np.where(better, other.ohm, lines.ohm)
        lines = replace(lines, share=share, ohm=ohm, unread=lines.unread & other.unread)
    return [lines]


def judged(bench: BoardBench, shares: Iterable[LineShares], name: str) -> dict[str, Ohm]:
    """Return the resistance of the row and of the column that conduct least, ohm, by their names.

    Args:
        name: of the prober, for messages.

    Raises:
        ContactError: a line does not touch.
        ContactUnread: of a line that the board connects there is no valid reading.
    """
    worst: dict[str, Ohm] = {}
    bad: list[str] = []
    unread: list[str] = []
    least, touching = bench.contact.least, False
    for lines in shares:
        unread += [lines.name(k) for k in np.flatnonzero(lines.unread).tolist()]
        bad += [lines.text(k) for k in np.flatnonzero(lines.share < least).tolist()]
        touching |= bool((lines.share >= least).any())
        for part in (slice(0, lines.n_rows), slice(lines.n_rows, None)):
            if np.isfinite(lines.share[part]).any():
                k = part.start + int(np.nanargmin(lines.share[part]))
                worst[lines.name(k)] = lines.resistance(k)
    if bad:
        where = "there" if touching else "at all, and whether it is such a die"
        raise ContactError(
            f"{name}: no contact: {_listed(bad)}; a line in contact conducts {100 * least:.4g} % of "
            f"its cells in AP at least; look whether they touch {where}"
        )
    if unread or not worst:
        raise ContactUnread(
            f"{name}: the contact check has no valid reading of {_listed(unread) or 'any line'}, so that nobody knows "
            f"whether it touches; {AGAIN}"
        )
    return worst


def _read(bench: BoardBench, die: Die, kernel: int, board: object, called: str) -> LineShares:
    """Read the lines of one kernel, what has no value once more.

    Raises:
        ContactError: a column conducts behind closed gates.
        ContactUnread: a column has no valid reading behind closed gates.
    """
    together, alone = line_reads(bench, die.geometry, kernel)
    n, gated = die.geometry.n_rows, together.bias.gate is not None
    used = _used(board, alone.bias)
    for _ in range(2):
        first = die.perform(together)
        connected = first.valid[0]
        if not (cols := used[n:] & ~connected).any():
            break
    all_rows = np.where(connected, first.current[0], 0.0)
    g_ap = float(die.nominal.g_ap(kernel))
    if gated:
        _refuse_unread(cols)
        _refuse_conducting(all_rows / bench.contact.voltage, bench.contact.least * n * g_ap)
    for _ in range(2):
        reading = die.perform(alone)
        valid = reading.valid
        if not (used & ~np.concatenate([valid.any(axis=1), valid.any(axis=0)])).any():
            break
    each_col = valid.sum(axis=0) if gated else np.full(len(connected), used[:n].sum())
    cells = np.concatenate([valid.sum(axis=1), each_col])
    read = used & (cells > 0) & np.concatenate([np.full(n, True), connected])
    current = np.where(valid, reading.current, 0.0)
    amps = np.concatenate([current.sum(axis=1), current.sum(axis=0) if gated else all_rows])
    siemens = np.maximum(cells, 1) * g_ap
    share = np.where(read, amps / (siemens * bench.contact.voltage), np.nan)
    return LineShares(share, 1 / siemens, used & ~read, called, n)


def _used(board: object, bias: Bias) -> BoolArray:
    """Return the (n_rows + n_cols,) lines that a board connects: all, but for those that it tells it never does."""
    lines = np.full(bias.row.shape[1] + bias.col.shape[1], True)
    floating = board.applied(bias).floating if isinstance(board, Stepped) else None
    return lines if floating is None else lines & ~floating.all(axis=0)


def _listed(lines: Sequence[str]) -> str:
    """Return the names of lines, and how many more there are."""
    more = f" and {len(lines) - NAMED} more" if len(lines) > NAMED else ""
    return f"{', '.join(lines[:NAMED])}{more}"


def _refuse_unread(cols: BoolArray) -> None:
    """Raise ContactUnread if columns have no valid reading behind closed gates."""
    if cols.any():
        lines = _listed([f"column {k}" for k in np.flatnonzero(cols).tolist()])
        raise ContactUnread(
            f"the contact check has no valid reading of {lines} behind closed gates, so that nobody knows whether the "
            f"needles stand on the pads of their lines; no gate was opened; {AGAIN}"
        )


def _refuse_conducting(siemens: FloatArray, least: float) -> None:
    """Raise ContactError if a column conducts behind closed gates as much as one that touches behind open ones, S."""
    conducting = np.flatnonzero(np.abs(siemens) >= least).tolist()
    if conducting:
        lines = _listed([f"column {k} {1e-3 / abs(siemens[k]):.3g} kohm" for k in conducting])
        raise ContactError(
            f"no contact: behind closed gates nothing conducts, found {lines}; no gate was opened; look whether "
            "the needles stand on the pads of their lines"
        )
