"""The write-verify loop of the host: batched pulses, one round per rung of the ladder."""

from typing import Any, Protocol

import numpy as np

from labctl.core.operations import Attempts, Flag, Pulse, Reading, Sense, WritePlan


class ReadsAndPulses(Protocol):
    """What the host loop needs of a die."""

    def perform(self, operation: Sense | Pulse) -> Reading:
        """Do a read or pulses."""
        ...


def program_by_host(die: ReadsAndPulses, plan: WritePlan) -> Attempts:
    """Carry out `plan` with batched pulses: one round per rung, every cell that is still wrong in one batch.

    A cell is judged by its own read alone: what the force side met during the
    pulse is recorded and changes nothing, because a short elsewhere on a line puts every pulse of that line into
    compliance. A read that was lost (UNKNOWN) is taken again before anything else, and its pulse counts, for it may
    have happened. A cell whose read is flagged gets no further pulse: its effect is unknown.

    All this is said of an entry of `plan`. A cell that is named k times is k cells here, as it is inside an instrument
    and on a board: one that turns into a short gets a pulse of each of its other entries all the same, up to k - 1
    more. Whoever names a cell several times keeps k small, and looks at the reads between two plans.
    """
    n = len(plan)
    verified, short, stopped = (np.zeros(n, np.bool_) for _ in range(3))
    rows: list[tuple[Any, ...]] = []
    for k, volts in enumerate(plan.ladder):
        pending = np.flatnonzero(~verified & ~stopped & (plan.budget > k))
        if not len(pending):
            break
        reading = die.perform(Pulse(plan.write.take(pending).scaled(volts), plan.width, plan.verify.take(pending)))
        current, flag = reading.current[:, 0], reading.flag[:, 0]
        lost = np.flatnonzero(flag & Flag.UNKNOWN)
        if len(lost):
            again = die.perform(plan.verify.take(pending[lost]))
            current, flag = current.copy(), flag.copy()
            current[lost], flag[lost] = again.current[:, 0], again.flag[:, 0]
        with np.errstate(invalid="ignore"):
            state = current / plan.v_read > plan.cut[pending]
        verified[pending] = (state == plan.target[pending]) & (flag == 0)
        short[pending] = (flag & Flag.COMPLIANCE) != 0
        stopped[pending] = flag != 0
        rows.append(
            (pending, np.full(len(pending), k + 1), np.full(len(pending), volts), current, flag, reading.pulse_flag)
        )
    if rows:
        cell, attempt, voltage, current, flag, force = (np.concatenate(column) for column in zip(*rows, strict=True))
    else:
        cell = attempt = np.zeros(0, np.int64)
        voltage = current = np.zeros(0)
        flag = force = np.zeros(0, np.uint8)
    return Attempts(cell, attempt, voltage, current, flag.astype(np.uint8), force.astype(np.uint8), verified, short)
