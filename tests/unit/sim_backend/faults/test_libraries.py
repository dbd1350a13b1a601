"""Faults of a rehearsed night on a board behind a library: the message, and how the board goes on."""

import numpy as np
import pytest

from labctl.core.errors import InstrumentError
from labctl.core.planned_fault import PlannedFault
from sim_backend.faults.libraries import FAILS, KINDS, NEVER_ENDS, PANICS, inject
from sim_backend.faults.listed import ListedFaults
from sim_backend.faults.typical import LIBRARY, TABLE
from tests.small_array import array, on_arc_two, read

WORDS = {FAILS: "ArC2Error: FPGA Error: USB transfer failed", PANICS: "Panic", NEVER_ENDS: "still busy after 5.0"}
CELLS = (np.array([0]), np.array([2]), np.array([1]))


def test_every_kind_of_such_a_board_is_one_that_a_night_draws():
    assert {typical.kind for typical in TABLE if LIBRARY in typical.at} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_fails_once_by_name_and_the_board_is_made_safe_and_reads_as_before(kind):
    on, struck = on_arc_two(array()), []
    faults = ListedFaults(lambda fault, detail: struck.append((fault.kind, detail)))
    inject(faults, "board", on.library)
    sense = read(on.board, *CELLS)
    before = on.board.sense(sense)
    faults.expect([PlannedFault(1, kind, "D", "board", operation=5, after=1)])
    on.board.sense(sense)  # operation 5 has not begun
    faults.reach(5)
    on.board.sense(sense)  # one message passes
    assert struck == []
    with pytest.raises(InstrumentError, match=WORDS[kind]):
        on.board.sense(sense)
    assert struck == [(kind, "at a call of execute")]
    on.board.off()
    on.board.verify_off()
    assert on.board.sense(sense).current == pytest.approx(before.current, rel=0.05)
    assert len(struck) == 1


def test_faults_of_another_instrument_do_not_happen_to_it():
    on, struck = on_arc_two(array()), []
    faults = ListedFaults(lambda fault, detail: struck.append(fault.kind))
    inject(faults, "board", on.library)
    faults.expect([PlannedFault(1, FAILS, "D", "another", operation=0)])
    faults.reach(3)
    on.board.sense(read(on.board, *CELLS))
    assert struck == []


def test_what_is_no_such_library_takes_none():
    inject(ListedFaults(), "board", object())
