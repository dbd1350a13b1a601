"""A write plan as one message to a Daffodil board, which carries it out by itself, and its attempts from the answer.

The board goes by the rounds of the host loop (`labctl.core.write_loop`): one per rung, with every cell that is still
wrong, in the order of the plan. Which cells those are is known on the board only, so that rest comes wherever any order
could need it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from instruments.daffodil_events import Events, Lines, Pace
from labctl.boards.daffodil import patterns as packed
from labctl.boards.daffodil import registers as reg
from labctl.core.errors import InstrumentError
from labctl.core.operations import Attempts, Flag, WritePlan
from labctl.core.units import BoolArray, FloatArray, IntArray, Volt

ATTEMPT = ("cell", "attempt", "code", "good")
"""What the board tells of each attempt."""
LOST = -1
"""Code of an attempt of which nobody knows whether it was made."""
VOID = -2
"""Code of an attempt at a cell on lines that are never connected: nothing is driven, and its read is invalid."""
_SLACK: Volt = 1e-9


def program_of(
    plan: WritePlan, lines: Lines, pace: Pace, zero: FloatArray, limits: tuple[IntArray, IntArray]
) -> dict[str, Any]:
    """Return the message of a plan whose cells are of one kernel.

    Args:
        zero: (n_cols,) codes of columns without a current.
        limits: (n_cols,) lowest and highest code of a good reading of each column.
    """
    volts, rungs = np.unique(plan.ladder, return_inverse=True)
    reads = lines.reads(plan.verify.bias, plan.verify.cols, plan.verify.aperture, pace)
    writes = [lines.writes(plan.write.scaled(v), pace.clocks(plan.width)) for v in volts]
    rest_of_writes, rest_of_reads = _rests(writes, reads)
    for events, rest in zip((*writes, reads), (*rest_of_writes, rest_of_reads), strict=True):
        events.records["mode"] |= np.where(rest, packed.REST, 0).astype(np.uint8)
    col = plan.verify.cols[:, 0]
    codes_per_ampere = lines.analogue.pots[1][col] / lines.analogue.adc_step
    low, high = limits
    return {
        "writes": [packed.pack(events.records.tobytes()) for events in writes],
        "reads": packed.pack(reads.records.tobytes()),
        "rungs": rungs.tolist(),
        "budget": plan.budget.tolist(),
        "target": plan.target.astype(int).tolist(),
        "cut": (zero[col] - plan.cut * plan.v_read * codes_per_ampere).tolist(),
        "low": low[col].tolist(),
        "high": high[col].tolist(),
    }


def _rests(writes: list[Events], reads: Events) -> tuple[list[BoolArray], BoolArray]:
    """Return which patterns need rest before them if writes follow any read, and each read a write of its own cell."""
    connected = ~np.isnan(reads.held)
    lines = np.logical_or.reduce([*(~np.isnan(w.held).all(0) for w in writes), connected.any(0)])
    if not connected[:, lines].all():  # lines that reads leave open keep what any write has left there
        every = np.ones(len(reads), np.bool_)
        return [every] * len(writes), every
    level = np.nan_to_num(reads.held)
    low, high = np.minimum(level.min(0), 0.0), np.maximum(level.max(0), 0.0)
    before_writes = [_beyond(low, high, w.held, w.own) for w in writes]
    after = np.zeros(len(reads), np.bool_)
    for w in writes:
        open_ = np.isnan(w.held)
        left_low, left_high = np.where(open_, low, np.minimum(w.held, 0)), np.where(open_, high, np.maximum(w.held, 0))
        after |= _beyond(left_low, left_high, reads.held, np.maximum(w.own, reads.own))
    return before_writes, after


def _beyond(low: FloatArray, high: FloatArray, held: FloatArray, judged: FloatArray) -> BoolArray:
    """Return whether lines that were left from `low` to `high` V can show a cell of (n,) patterns more than judged."""
    n_rows = held.shape[1] // 2
    low = np.minimum(low, np.where(np.isnan(held), np.inf, held))
    high = np.maximum(high, np.where(np.isnan(held), -np.inf, held))
    up = high[:, :n_rows].max(1) - low[:, n_rows:].min(1)
    down = high[:, n_rows:].max(1) - low[:, :n_rows].min(1)
    return np.asarray((np.stack([up, down], axis=1) > judged + _SLACK).any(1))


class Ended(InstrumentError):
    """The board ended a write plan before its end: somebody had it made safe.

    Args:
        made: the attempts that it tells of, and the one that it may have begun.
    """

    def __init__(self, message: str, made: Mapping[str, IntArray]) -> None:
        super().__init__(message)
        self.made = made


def answer_of(reply: Mapping[str, Any], plan: WritePlan, program: Mapping[str, Any]) -> dict[str, IntArray]:
    """Return cell, attempt, code and whether each code is good, (a,) each, of the attempts of a plan.

    Those of a cell are numbered from 1 to at most its budget, each once.

    Args:
        program: the message that is answered.

    Raises:
        Ended: the board ended the plan.
        InstrumentError: the reply is none to this plan.
    """
    n = len(plan)
    try:
        made: dict[str, IntArray] = {name: np.array(reply[name], np.int64) for name in ATTEMPT}
        aborted = list(reply["aborted"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InstrumentError(f"no attempts of a write plan: {error!r}") from error
    if len({len(part) for part in made.values()}) != 1 or not ((made["cell"] >= 0) & (made["cell"] < n)).all():
        raise InstrumentError("the attempts of a write plan do not fit the plan")
    cell, attempt = made["cell"], made["attempt"]
    order = np.lexsort((attempt, cell))
    begins = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=n))])
    numbers = np.arange(len(cell)) - begins[cell[order]] + 1
    if (attempt[order] != numbers).any() or (attempt > plan.most[cell]).any():
        raise InstrumentError("the attempts of a write plan are not those of its cells, one after the other")
    if ((made["code"] < 0) | (made["code"] > reg.TOP_CODE)).any():
        raise InstrumentError(f"the attempts of a write plan have a code beyond 0 to {reg.TOP_CODE}")
    begun = _next(plan, made, np.asarray(program["cut"]))
    if aborted:
        raise Ended(f"the write plan was ended by the board {aborted[0]}", joined([made, begun]))
    if len(begun["cell"]):
        raise InstrumentError(
            f"the attempts of a write plan end before its end: attempt {begun['attempt'][0]} of cell "
            f"{begun['cell'][0]} is missing"
        )
    return made


def lost_of(plan: WritePlan) -> dict[str, IntArray]:
    """Return all attempts that a plan might make, of which nothing is known: their code is `LOST`."""
    attempts = Attempts.at_most(plan)
    unknown = np.full_like(attempts.cell, LOST)
    return {"cell": attempts.cell, "attempt": attempts.attempt, "code": unknown, "good": np.zeros_like(unknown)}


def void_of(cells: IntArray) -> dict[str, IntArray]:
    """Return the attempt at each of some cells (k,) on lines that are never connected."""
    return {"cell": cells, "attempt": np.ones_like(cells), "code": np.full_like(cells, VOID), "good": 0 * cells}


def _next(plan: WritePlan, made: Mapping[str, IntArray], cut: FloatArray) -> dict[str, IntArray]:
    """Return the attempt, none at the end, that comes after those that were made, in the rounds of the board.

    Args:
        cut: (N,) the code below which each cell reads P.
    """
    n = len(plan)
    number = np.bincount(made["cell"], minlength=n)
    last = np.full(n, -1)
    last[made["cell"]] = np.arange(len(made["cell"]))
    tried = np.flatnonzero(last >= 0)
    good, code = (made[name][last[tried]] for name in ("good", "code"))
    goes_on = number < plan.most
    goes_on[tried] &= (good == 1) & ((code < cut[tried]) != plan.target[tried])
    cell = np.lexsort((np.arange(n), number, ~goes_on))[: int(goes_on.any())]
    unknown = np.full_like(cell, LOST)
    return {"cell": cell, "attempt": number[cell] + 1, "code": unknown, "good": np.zeros_like(unknown)}


def joined(parts: Sequence[Mapping[str, IntArray]]) -> dict[str, IntArray]:
    """Return the attempts of several messages as one."""
    return {name: np.concatenate([np.zeros(0, np.int64), *(part[name] for part in parts)]) for name in ATTEMPT}


def attempts_of(plan: WritePlan, made: Mapping[str, IntArray], current: FloatArray, flag: IntArray) -> Attempts:
    """Return the attempts (a,) of a plan, by currents in A and flags of their verify reads.

    Those that are lost have no current, and UNKNOWN as their flags.
    """
    n, lost = len(plan), made["code"] == LOST
    order = np.lexsort((made["cell"], made["attempt"]))
    cell, attempt, lost = made["cell"][order], made["attempt"][order], lost[order]
    current = np.where(lost, np.nan, current[order])
    flag, pulse_flag = np.where(lost, int(Flag.UNKNOWN), flag[order]), np.where(lost, int(Flag.UNKNOWN), 0)
    verified, short = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    with np.errstate(invalid="ignore"):
        good = (flag == 0) & ((current / plan.v_read > plan.cut[cell]) == plan.target[cell])
    verified[cell] = good  # the last attempt of a cell comes last
    short[cell] = (flag & Flag.COMPLIANCE) != 0
    flags = flag.astype(np.uint8), pulse_flag.astype(np.uint8)
    return Attempts(cell, attempt, plan.ladder[attempt - 1], current, *flags, verified, short)
