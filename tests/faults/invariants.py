"""What holds whatever happens between a driver and its instrument; each function returns what is wrong, "" if nothing.

A course is compared with that of the undisturbed run.
"""

import numpy as np
from e2e.small_dies import LIMITS
from faults.campaign import SESSIONS, WRITE

from labctl.core.die_state import State

MOST_MESSAGES = 20
"""Messages of a disturbed run, in those of an undisturbed one, beyond which it counts as one that hangs."""
TOLERANCE = 0.02
"""Relative difference of a quantity that was measured again."""
WRITTEN = ("survey.defect", "survey.good", "readback.state", "write.correct", "write.fidelity")
"""Columns that no fault may change: what became of the cells."""
UNNOTICED = {
    "a digit changed": "nothing in a reply tells that one of its digits is another one",
}
"""Kinds that may change what is measured without a word, and why: for these the two invariants of `MEASURED` are
counted and not demanded. A kind that comes to be noticed is taken off this list."""


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
    """No cell sees more than the campaign asks for, and so never more than the limits allow."""
    most = min(WRITE["v_max"], LIMITS.v_towards_p, LIMITS.v_towards_ap)
    return f"{course.peak:.4f} V on a cell" if course.peak > most + 1e-9 else ""


def live_is_told(course, undisturbed):
    """No session ends with an output on, unless it says that outputs may be live."""
    return f"left on without a word: {course.untold[0]}" if course.untold else ""


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
        for column in WRITTEN:
            if column in normal.columns and not np.array_equal(die.columns.get(column), normal.columns[column]):
                return f"{name} is done, and its {column} differs"
    return ""


def is_told_or_harmless(course, undisturbed):
    """What was measured is as without the fault, or somebody was told that something happened."""
    if course.told:
        return ""
    for name, die in course.dies.items():
        different = differences(die, undisturbed.dies[name])
        if different:
            return f"{name} is done without a word, and differs: {', '.join(sorted(different)[:4])}"
    return ""


def differences(die, normal):
    """Return the columns in which a die differs from the undisturbed one, beyond what a second reading may."""
    different = die.columns.keys() ^ normal.columns.keys()
    for column in die.columns.keys() & normal.columns.keys():
        one, two = die.columns[column], normal.columns[column]
        if one.shape != two.shape:
            different.add(column)
        elif one.dtype.kind == "f":
            scale = np.nanmax(np.abs(two), initial=0.0)
            if not np.allclose(one, two, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True):
                different.add(column)
        elif not np.array_equal(one, two):
            different.add(column)
    return different


INVARIANTS = (
    is_no_bug,
    ends,
    nothing_unsafe,
    within_limits,
    live_is_told,
    journal_is_kept,
    dies_come_to_the_same_end,
    is_told_or_harmless,
)


MEASURED = (dies_come_to_the_same_end, is_told_or_harmless)


def judged(course, undisturbed):
    """Return what is wrong by the name of the invariant, twice: what must not be, and what goes unnoticed as yet."""
    wrong = {check: check(course, undisturbed) for check in INVARIANTS}
    excused = MEASURED if course.injection.kind in UNNOTICED else ()
    violated = {check.__name__: text for check, text in wrong.items() if text and check not in excused}
    return violated, {check.__name__: text for check, text in wrong.items() if text and check in excused}


def violated(course, undisturbed):
    """Return what must not be, by the name of the invariant; nothing if all hold."""
    return judged(course, undisturbed)[0]
