"""What proves that needles touched, what does not, and what is void then."""

import numpy as np
import pytest

from labctl.core.bias import Bias, Geometry, Nominal
from labctl.core.errors import ContactError, ContactLost, ContactUnread
from labctl.core.limits import Limited, Limits
from labctl.core.operations import Flag, Reading, Sense
from labctl.execution.contact_watch import ContactWatch
from labctl.execution.nominal_die import NominalDie

LIMITS = Limits(v_towards_p=0.6, v_towards_ap=0.6, width=1e-3, compliance=1e-2, v_count=0.35, pulses_per_cell=50)
GEOMETRY = Geometry(2, 3, 4)
OHMS = {"r0-c0": 2e3}


class Probed(NominalDie):
    """A nominal die whose needles may be up, and with cells that are open by fabrication."""

    def __init__(self, opened=()):
        super().__init__(GEOMETRY, Nominal.alike(4e-4, 2e-4, 2), timing=lambda operation: 1e-3)
        self.down, self.opened, self.reads = True, set(opened), 0

    def _sense(self, sense):
        self.reads += 1
        reading = super()._sense(sense)
        rows = (sense.bias.row != 0).argmax(axis=1)
        for at in np.ndindex(reading.current.shape):
            cell = (int(sense.bias.kernel[at[0]]), int(rows[at[0]]), int(sense.cols[at]))
            if not self.down or cell in self.opened:
                reading.current[at] = 1e-11
        return reading


class Structures:
    """The contact structures of a bench, some or none."""

    def __init__(self, die, named=True):
        self.die, self.named, self.asked = die, named, 0

    def __call__(self):
        self.asked += 1
        if self.named and not self.die.down:
            raise ContactError("no contact: r0-c0 open; at most 50 kohm is contact")
        return OHMS if self.named else {}


def row(row, kernel=0, volts=0.1, cols=range(4)):
    levels = np.zeros((1, 3))
    levels[0, row] = volts
    return Sense(Bias(levels, np.zeros((1, 4)), kernel=np.array([kernel])), np.array(cols))


def watched(named=True, opened=(), proved=0):
    die = Probed(opened)
    structures = Structures(die, named)
    watch = ContactWatch(Limited(die, LIMITS), structures, proved)
    watch.begin()
    return die, structures, watch


def see(watch, die, *senses):
    for sense in senses:
        watch.look(sense, die.perform(sense))


def test_structures_prove_it_at_the_end_of_a_stage():
    die, _, watch = watched()
    see(watch, die, row(0), row(1, volts=-0.1))
    assert (watch.end().by, watch.end().resistance) == ("structures", OHMS)
    die.down = False
    with pytest.raises(ContactLost, match=r"^void: at the end of the stage: no contact: r0-c0 open.*is no measurement"):
        watch.end()
    assert die.reads == 2


def test_where_no_structure_is_named_cells_that_conducted_are_read_again():
    die, _, watch = watched(named=False, opened={(1, 0, k) for k in range(4)})
    see(watch, die, row(0), row(2), row(0, kernel=1))
    proof = watch.end()
    assert (proof.by, dict(proof.resistance)) == ("the cell of kernel 0, row 2, column 3, which conducts as before", {})
    die.down = False
    with pytest.raises(ContactLost, match=r"row 2, column 1 and .* column 3 conducted before and is open"):
        watch.end()
    watch.begin()
    with pytest.raises(ContactLost, match="conducted before"):
        watch.end()  # also in a stage that read nothing


def test_one_witness_may_fail_where_another_conducts():
    die, _, watch = watched(named=False)
    see(watch, die, row(0))
    die.opened = {(0, 0, 3)}
    assert "row 0, column 2" in watch.end().by


def test_where_nothing_can_prove_it_that_is_said():
    die, _, watch = watched(named=False)
    both = Sense(Bias(np.full((2, 3), 0.1), np.zeros((2, 4)), kernel=np.zeros(2, np.int64)), np.arange(4))
    see(watch, die, both)
    assert watch.end().by == "nothing: no structure is named, and no single cell was read"
    die.down = False
    with pytest.raises(ContactLost, match=r"no cell that was read conducts.*names no contact structure"):
        see(watch, die, row(0))


def test_it_is_looked_at_once_in_a_stage_when_more_than_half_of_the_cells_read_open():
    die, structures, watch = watched(opened={(0, r, k) for r in (1, 2) for k in range(4)})
    see(watch, die, row(0), row(1))
    assert structures.asked == 0
    see(watch, die, row(2))
    assert structures.asked == 1
    see(watch, die, row(2), row(2))
    assert structures.asked == 1
    watch.end()
    watch.begin()
    die.down = False
    with pytest.raises(ContactLost, match="void: more than half of the cells that this stage has read are open"):
        see(watch, die, row(0))


def test_a_flagged_reading_tells_nothing_of_contact():
    _, structures, watch = watched()
    reading = Reading(np.zeros((1, 4)), np.full((1, 4), Flag.COMPLIANCE, np.uint8), np.zeros(1, np.uint8))
    watch.look(row(0), reading)
    watch.look(None, Reading.unknown(1, 0))
    assert structures.asked == 0


def recalled(watch, die, *rows):
    for number, sense in rows:
        watch.recall(number, sense, die.perform(sense))


def test_what_read_open_before_an_interruption_is_read_again_after_it():
    die, structures, watch = watched(opened={(0, 1, 2)})
    recalled(watch, die, (11, row(0)), (12, row(1)))
    before = die.reads
    watch.resume()
    watch.resume()
    assert (die.reads - before, structures.asked) == (1, 0)
    die, structures, watch = watched()
    die.down = False
    recalled(watch, die, (11, row(0)))
    die.down = True  # the new touch
    with pytest.raises(ContactLost, match=r"^void: the cell of kernel 0, row 0, column 0 read open before the interr"):
        watch.end()


def test_what_was_proved_before_an_interruption_is_not_in_question():
    die, _, watch = watched(proved=11)
    die.down = False
    recalled(watch, die, (11, row(0)))
    die.down = True
    before = die.reads
    watch.resume()
    assert die.reads == before
    die.down = False
    recalled(watch, die, (12, row(1)))
    die.down = True
    with pytest.raises(ContactLost, match="row 1, column 0 read open"):
        watch.resume()


def test_a_cell_that_conducted_later_is_not_in_question():
    die, _, watch = watched()
    die.down = False
    recalled(watch, die, (11, row(0)))
    die.down = True
    recalled(watch, die, (12, row(0)))
    before = die.reads
    watch.resume()
    assert die.reads == before


def test_where_nothing_touches_nothing_is_read_again():
    die = Probed()
    watch = ContactWatch(Limited(die, LIMITS))
    watch.begin()
    die.down = False
    see(watch, die, row(0))
    recalled(watch, die, (1, row(1)))
    watch.resume()
    assert watch.end() is None
    assert die.reads == 2


def test_structures_of_which_nothing_is_read_prove_nothing_and_the_try_is_void():
    def unread():
        raise ContactUnread("the contact check has no valid reading of row 1")

    watch = ContactWatch(Limited(Probed(), LIMITS), unread)
    watch.begin()
    with pytest.raises(ContactLost, match="void: at the end of the stage: the contact check has no valid reading"):
        watch.end()
