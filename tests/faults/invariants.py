"""What holds whatever happens between a driver and its instrument; each function returns what is wrong, "" if nothing.

A course is compared with that of the undisturbed run.
"""

import re
from dataclasses import replace

import numpy as np
from faults.campaign import SESSIONS
from faults.kinds import KILLS

from labctl.core.die_state import State
from labctl.core.exit_codes import ExitCode
from labctl.core.operations import Flag

MOST_MESSAGES = 20
"""Messages of a disturbed run, in those of an undisturbed one, beyond which it counts as one that hangs."""
TOLERANCE = 0.02
"""Relative difference of a quantity that was measured again."""
WRITTEN = ("survey.defect", "survey.good", "readback.state", "write.correct", "write.fidelity")
"""Columns that no fault may change: what became of the cells."""
UNNOTICED = {
    "a digit changed": "nothing in a reply tells that one of its digits is another one",
}
"""Kinds that may change what is measured without a word, and why. Their bound is one reading: at most one cell differs,
or the currents of one column: a cell that is read for a superposition is part of those of every sample. A kind that
comes to be noticed is taken off this list."""
ERRORS = {"inference.error_rms", "inference.error_worst"}
"""Columns that are differences of readings relative to those: a second reading moves them by as much as itself."""
STARTING = {"attempt.trial", "survey.g_initial"}
"""Columns that tell how a die was found, which is another way in another try."""
OF_PULSES = re.compile(r"line\.|wer\.|write\.(pulses|wer|rung|fidelity_blind|stuck_pulses|limited_pulses)")
"""Columns that count pulses over all cells, or are computed from such counts."""
OPERATIONS = re.compile(
    r"'[^']{2,}'?|\b(output|relays?|routes?|script|contact|step(s|ped)?|readings?|reads|switch|connecting anew)\b"
)
"""What is told of an operation: a command in quotes, or its name."""
ADVICE = re.compile(
    r"\b([Ll]ook (at|whether)|choose another|check (that|its)|go (there|to the bench)|set it under)\b|'labctl \w+"
)
"""What is told to be done."""
CELL = ("kernel", "row", "col")


def is_no_bug(course, undisturbed):
    """No exception is one of ours, and none ends in a traceback."""
    return f"a bug: {course.bugs[0].strip().splitlines()[-1]}" if course.bugs else ""


def ends(course, undisturbed):
    """Nothing hangs: so many sessions and messages are enough for every fault."""
    if any(die.sessions >= SESSIONS and die.state is not State.DONE for die in course.dies.values()):
        return f"a die has not ended after {SESSIONS} sessions"
    messages, normal = course.injection.messages, undisturbed.injection.messages
    return f"{messages} messages, {normal} without the fault" if messages > MOST_MESSAGES * normal else ""


def nothing_unsafe(course, undisturbed):
    """No hot switch, no move in contact, no fight of sources."""
    lifted = "needles lift" in course.injection.kinds  # which is a hot touch by itself
    incidents = [text for text in course.incidents if not (lifted and text.startswith("hot touch"))]
    return "; ".join(incidents[:3])


def within_limits(course, undisturbed):
    """No cell sees more than the campaign asks for, and so never more than the limits allow, and no gate more."""
    if course.peak_gate > course.limit_gate + 1e-9:
        return f"{course.peak_gate:.4f} V on a gate"
    return f"{course.peak:.4f} V on a cell" if course.peak > course.most + 1e-9 else ""


def live_is_told(course, undisturbed):
    """No session ends with an output on, unless it ends with 6 and names its instrument."""
    return course.untold[0] if course.untold else ""


def words_help(course, undisturbed):
    """Whatever is told of a fault names an instrument or pads of the bench file, what was done, and what to do.

    What an operator has done needs no explanation.
    """
    named = re.compile(rf"\b({'|'.join(map(re.escape, course.names))})\b")
    for code, text in course.told:
        first = text.strip().partition("\n")[0]
        parts = {"an instrument": named, "an operation": OPERATIONS, "what to do": ADVICE}
        missing = [what for what, pattern in parts.items() if not pattern.search(first)]
        if missing and code != ExitCode.OPERATOR:
            return f"without {' and '.join(missing)}: {first}"
    return ""


def off_soon(course, undisturbed):
    """Outputs are off within 1 s of the detection of a fault; where a link does not answer, of its patience and 1 s."""
    return course.late[0] if course.late else ""


def journal_is_kept(course, undisturbed):
    """No row that was acknowledged is lost or changed."""
    lost = sum(die.lost_rows for die in course.dies.values())
    return f"{lost} rows lost" if lost else ""


def dies_come_to_the_same_end(course, undisturbed):
    """Once the fault is over, sound dies are good, and cells are what they would have been."""
    for name, die in course.dies.items():
        normal = undisturbed.dies[name]
        if (die.state, die.bin) != (normal.state, normal.bin):
            return f"{name} is {die.state.value}, {die.bin}; expected {normal.state.value}, {normal.bin}"
        for column in WRITTEN if course.injection.kind not in UNNOTICED else ():
            if column in normal.columns and not np.array_equal(die.columns.get(column), normal.columns[column]):
                return f"{name} is done, and its {column} differs"
    return ""


def is_told_or_harmless(course, undisturbed):
    """Without a word, all that was measured is as without the fault, pulses included, within noise.

    Who resumes after a kill knows of it.
    """
    if course.told or course.injection.kinds & set(KILLS):
        return ""
    for name, die in course.dies.items():
        different = differences(die, undisturbed.dies[name])
        if different and course.injection.kind in UNNOTICED:
            more = beyond_one_reading(die, undisturbed.dies[name], different)
            return more and f"{name} differs in more than one reading: {more}"
        if different:
            return f"{name} is done without a word, and differs: {', '.join(sorted(different)[:4])}"
    return ""


def is_measured_alike(course, undisturbed):
    """With a word, all that was measured is as without the fault, within noise, but for pulses that were lost.

    A pulse whose result was lost counts as given: each makes the count of its cell too high by one at most. How a die
    was found is another way in another try.
    """
    if course.injection.kind in UNNOTICED:
        return ""
    for name, die in course.dies.items():
        normal = undisturbed.dies[name]
        cells, lost = lost_pulses(die), np.zeros_like(normal.counts)
        np.add.at(lost, tuple(np.array(cells, int).reshape(-1, 3).T), 1)
        if course.rows_share:
            lost = np.broadcast_to(lost.sum(axis=2, keepdims=True), lost.shape)
        if die.counts is None or not ((normal.counts <= die.counts) & (die.counts <= normal.counts + lost)).all():
            return f"{name} has counted {die.counts} pulses; expected {normal.counts}, and up to {lost} more"
        different = differences(without(die, cells), without(normal, cells))
        if die.try_no > 1:
            different -= STARTING
        if cells:
            different = {column for column in different if not OF_PULSES.match(column)}
        if different:
            return f"{name} differs: {', '.join(sorted(different)[:4])}"
    return ""


def lost_pulses(die):
    """Return the cell of each pulse whose result was lost, as (kernel, row, col)."""
    if "attempt.pulse_flag" not in die.columns:
        return []
    lost = (die.columns["attempt.pulse_flag"] & Flag.UNKNOWN) != 0
    return [
        tuple(map(int, cell)) for cell in zip(*(die.columns[f"attempt.{part}"][lost] for part in CELL), strict=True)
    ]


def without(die, cells):
    """Return a die without the attempts at some cells."""
    if not cells:
        return die
    places = zip(*(die.columns[f"attempt.{part}"] for part in CELL), strict=True)
    kept = [tuple(map(int, place)) not in cells for place in places]
    columns = {name: v[kept] if name.startswith("attempt.") else v for name, v in die.columns.items()}
    return replace(die, columns=columns)


def beyond_one_reading(die, normal, different):
    """Return what differs in more than one cell and one column of a readout, in words; "" if nothing does."""
    cells, sums = set(), 0
    for column in different:
        table, _, name = column.partition(".")
        one, two = die.columns[column], normal.columns[column]
        if table == "survey" and one.ndim == 3:
            cells |= set(map(tuple, np.argwhere(_unlike(one, two))))
        elif table == "readback":
            rows = _unlike(one, two).reshape(len(one), -1).any(1)
            cells |= set(zip(*(die.columns[f"readback.{part}"][rows] for part in CELL), strict=True))
        elif table == "attempt":
            cells |= _attempted_otherwise(die, normal)
        elif table == "layer_current" and name in ("untuned", "tuned"):
            sums = max(sums, int(_unlike(one, two).any(axis=tuple(range(one.ndim - 1))).sum()))
    if len(cells) > 1 or (sums > 1 and not cells):
        return f"{len(cells)} cells, currents of {sums} columns"
    return ""


def _attempted_otherwise(die, normal):
    """Return the cells on which attempts differ."""
    both = [_attempts(one) for one in (die, normal)]
    return {cell for cell in both[0].keys() | both[1].keys() if not _same_rows(both[0].get(cell), both[1].get(cell))}


def _attempts(die):
    """Return the attempts at each cell, as a list of (target, conductance)."""
    attempts = {}
    rows = zip(*(die.columns[f"attempt.{part}"] for part in (*CELL, "target", "conductance")), strict=True)
    for kernel, row, col, target, conductance in rows:
        attempts.setdefault((kernel, row, col), []).append((target, conductance))
    return attempts


def _same_rows(one, two):
    return one is not None and two is not None and len(one) == len(two) and np.allclose(one, two, rtol=TOLERANCE)


def differences(die, normal):
    """Return the columns in which a die differs from the undisturbed one, beyond what a second reading may."""
    different = die.columns.keys() ^ normal.columns.keys()
    for column in die.columns.keys() & normal.columns.keys():
        one, two = die.columns[column], normal.columns[column]
        if one.shape != two.shape or _unlike(one, two, 1.0 if column in ERRORS else None).any():
            different.add(column)
    return different


def _unlike(one, two, scale=None):
    """Return where two arrays of one shape differ, beyond what a second reading of things of a `scale` may."""
    if one.dtype.kind != "f":
        return one != two
    scale = np.nanmax(np.abs(two), initial=0.0) if scale is None else scale
    return ~np.isclose(one, two, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True)


INVARIANTS = (
    is_no_bug,
    ends,
    nothing_unsafe,
    within_limits,
    live_is_told,
    words_help,
    off_soon,
    journal_is_kept,
    dies_come_to_the_same_end,
    is_told_or_harmless,
    is_measured_alike,
)


def violated(course, undisturbed):
    """Return what must not be, by the name of the invariant; nothing if all hold."""
    wrong = {check.__name__: check(course, undisturbed) for check in INVARIANTS}
    return {name: text for name, text in wrong.items() if text}


def unnoticed(course, undisturbed):
    """Return how many columns differ without a word, by the name of the die: by kinds that may do that."""
    if course.told or course.injection.kind not in UNNOTICED:
        return {}
    different = {name: differences(die, undisturbed.dies[name]) for name, die in course.dies.items()}
    return {name: ", ".join(sorted(columns)[:4]) for name, columns in different.items() if columns}
