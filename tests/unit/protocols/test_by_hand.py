"""By hand: one cell read, one cell pulsed, a kernel looked at; on a simulated die of 2 kernels of 4 x 3."""

import numpy as np
import pytest
from pydantic import ValidationError

from labctl.core.bias import Geometry, Nominal
from labctl.core.cell_state import CellState
from labctl.core.errors import BenchError, LimitError
from labctl.core.limits import Limited, Limits
from labctl.core.operations import Flag, Reading
from labctl.core.record import History, units_of
from protocols.by_hand import CellPulse, CellReading, KernelMap, MapCells, PulseCell, ReadCell
from sim_backend.description import DieDescription
from sim_backend.die import SimDie


@pytest.fixture
def die():
    data = {
        "name": "d",
        "geometry": {"kernels": 2, "n_rows": 4, "n_cols": 3},
        "junction": {"diameter": "80 nm"},
        "simulation": {"ideal": True},
    }
    return SimDie(DieDescription.model_validate(data, context={"file": True}), seed=3, name="d")


def only(procedure, die):
    (record,) = procedure.run(die, History())
    return record


def test_a_cell_is_pulsed_one_way_and_back_and_no_other_cell_with_it(die):
    first = only(ReadCell(kernel=1, row=2, col=0), die)
    assert isinstance(first, CellReading)
    assert (first.state, first.flag) == (False, 0)
    assert first.conductance == pytest.approx(die.nominal.g_ap(0))
    up = only(PulseCell(kernel=1, row=2, col=0, to_p=True, voltage=0.45), die)
    assert isinstance(up, CellPulse)
    assert (up.state, up.verified, up.flag, up.pulse_flag) == (True, True, 0, 0)
    assert up.conductance == pytest.approx(die.nominal.g_p(0))
    assert die.truth()["state"].nonzero() == (np.array([1]), np.array([2]), np.array([0]))
    down = only(PulseCell(kernel=1, row=2, col=0, to_p=False, voltage=0.45), die)
    assert (down.state, down.verified) == (False, True)


def test_a_pulse_that_is_too_weak_is_a_record_and_not_an_error(die):
    record = only(PulseCell(kernel=0, row=3, col=2, to_p=True, voltage=0.3), die)
    assert (record.state, record.verified) == (False, False)


def test_a_map_shows_every_cell_of_the_kernels_asked_for(die):
    only(PulseCell(kernel=1, row=3, col=1, to_p=True, voltage=0.45), die)
    both = list(MapCells().run(die, History()))
    assert [m.kernel for m in both] == [0, 1]
    assert both[0].state.shape == (4, 3)
    assert not both[0].state.any()
    assert np.argwhere(both[1].state).tolist() == [[3, 1]]
    one = only(MapCells(kernel=1), die)
    assert isinstance(one, KernelMap)
    assert np.array_equal(one.conductance, both[1].conductance)
    assert units_of(KernelMap)["conductance"] == "S"


def test_polarity_turns_the_pulse_round(die):
    seen = []

    class Turned:
        geometry, nominal = Geometry(2, 4, 3, polarity=-1), Nominal.alike(4e-4, 2e-4, 2)

        def pulse(self, pulse):
            seen.append(pulse)
            return Reading(np.full((1, 1), np.nan), np.full((1, 1), Flag.UNKNOWN, np.uint8), np.zeros(1, np.uint8))

    record = only(PulseCell(kernel=0, row=1, col=2, to_p=True, voltage=0.4), Turned())
    (pulse,) = seen
    assert pulse.bias.row[0, 1] - pulse.bias.col[0, 2] == pytest.approx(-0.4)
    assert (record.flag, record.verified) == (Flag.UNKNOWN, False)


def test_what_is_not_there_or_beyond_the_limits_is_refused(die):
    limits = Limits(
        v_towards_p=0.5, v_towards_ap=0.4, width=1e-3, compliance=1e-2, v_count=0.3, pulses_per_cell=10
    )  # fmt: skip
    behind = Limited(die, limits)
    with pytest.raises(BenchError, match="row 4 is not on this die"):
        only(ReadCell(kernel=0, row=4, col=0), behind)
    with pytest.raises(BenchError, match="not on this die"):
        only(MapCells(kernel=2), behind)
    with pytest.raises(LimitError, match="towards AP"):
        only(PulseCell(kernel=0, row=0, col=0, to_p=False, voltage=0.45), behind)
    with pytest.raises(LimitError, match="width"):
        only(PulseCell(kernel=0, row=0, col=0, to_p=True, voltage=0.45, width=2e-3), behind)
    with pytest.raises(ValidationError):
        PulseCell(kernel=0, row=0, col=0, to_p=True, voltage=-0.4)


def test_a_cell_is_judged_by_the_cut_of_its_own_kernel() -> None:
    """G_P of a 60 nm cell at 8 ohm um^2, 353 uS, lies below the cut of a 100 nm kernel, 662 uS."""
    data = {
        "name": "two sizes",
        "geometry": {"kernels": 2, "n_rows": 4, "n_cols": 3},
        "junction": {"kernel_diameters": ["60 nm", "100 nm"], "ra": "8 ohm um^2"},
        "simulation": {"ideal": True},
    }
    die = SimDie(DieDescription.model_validate(data, context={"file": True}), seed=3, name="d")
    for kernel in (0, 1):
        up = only(PulseCell(kernel=kernel, row=2, col=1, to_p=True, voltage=0.45), die)
        assert isinstance(up, CellPulse)
        assert (up.state, up.verified) == (True, True)
        down = only(PulseCell(kernel=kernel, row=2, col=0, to_p=False, voltage=0.45), die)
        assert isinstance(down, CellPulse)
        assert (down.state, down.verified) == (False, True)
        read = only(ReadCell(kernel=kernel, row=2, col=1), die)
        assert isinstance(read, CellReading)
        assert read.state
        assert read.conductance == pytest.approx(die.nominal.g_p(kernel))
    for record in MapCells().run(die, History()):
        assert isinstance(record, KernelMap)
        assert np.argwhere(record.state).tolist() == [[2, 1]]


def test_a_cell_that_conducts_nothing_is_open_and_not_ap() -> None:
    data = {
        "name": "d",
        "geometry": {"kernels": 2, "n_rows": 4, "n_cols": 3},
        "junction": {"diameter": "80 nm"},
        "simulation": {"defects": {"open": 1.0}},
    }
    die = SimDie(DieDescription.model_validate(data, context={"file": True}), seed=3, name="d")
    read = only(ReadCell(kernel=1, row=2, col=0), die)
    assert isinstance(read, CellReading)
    assert read.state == CellState.OPEN
    down = only(PulseCell(kernel=0, row=1, col=2, to_p=False, voltage=0.45), die)
    assert isinstance(down, CellPulse)
    assert (down.state, down.verified) == (CellState.OPEN, False)
    cells = only(MapCells(kernel=0), die)
    assert isinstance(cells, KernelMap)
    assert (cells.state == CellState.OPEN).all()
    flagged = Reading(np.zeros((1, 1)), np.full((1, 1), Flag.UNKNOWN, np.uint8), np.zeros(1, np.uint8))
    assert ReadCell(kernel=0, row=0, col=0).judge(die, flagged) == (0.0, Flag.UNKNOWN, CellState.UNREADABLE)
