"""The cells that a plan expects: voltages of the exact circuit, and as many pulses as simulated dies get on average."""

from types import SimpleNamespace

import numpy as np
import pytest

from labctl.core.limits import Limited, Limits
from labctl.core.operations import Pulse
from labctl.core.record import History
from labctl.execution.disk_estimate import DiskEstimate
from labctl.execution.nominal_die import NominalDie
from labctl.execution.plan import CountedDie, StagePlan
from protocols.bias import write_bias
from protocols.survey import Survey
from sim_backend.chip import ChipDie
from sim_backend.description import DieDescription
from sim_backend.die import SimDie
from sim_backend.expected_cells import ExpectedCells

LIMITS = Limits(
    v_towards_p=0.8, v_towards_ap=0.8, v_gate=3.3, width=1e-2, compliance=1e-2, v_count=0.35, pulses_per_cell=10**6
)


def passive(n_rows=15, n_cols=14, kernels=1, **simulation) -> DieDescription:
    geometry = {"kind": "passive", "kernels": kernels, "n_rows": n_rows, "n_cols": n_cols}
    die = {"name": "x", "geometry": geometry, "junction": {"diameter": "80 nm"}, "simulation": simulation}
    return DieDescription.model_validate(die)


def test_cells_see_what_leads_and_wires_leave_them():
    file = passive(random_state=True, spread={"diameter": 0, "ra": 0})
    leads = np.full((1, 29), 25.0)
    cells, die = ExpectedCells(file, leads), SimDie(file, seed=3, name="d")
    die.probe(leads)
    circuit = die._arrays[0].circuit
    lost = []
    for state in (False, True):
        cells._cells.state[:] = state
        circuit.change(np.arange(210), cells._cells.g_p, cells._cells.tmr0 * (not state))
        at = tuple(np.indices(file.shape.shape).reshape(3, -1))
        bias = write_bias(file.shape, *at, np.full(210, not state)).scaled(0.42)
        exact = circuit.driven(np.concatenate([bias.row, bias.col], axis=1))[0].reshape(210, 15, 14)
        ours = [cells._of_passive(bias, k)[at[1][k], at[2][k]] for k in range(210)]
        lost.append(np.abs(exact[np.arange(210), at[1], at[2]]) - np.abs(ours))
        assert np.abs(ours).max() < 0.42 - (0.025, 0.05)[state], "most of the loss is in the leads"
    assert np.abs(np.mean(lost, axis=1)).max() < 0.3e-3
    assert np.abs(lost).max() < 1e-3


def test_one_cell_is_the_median_cell():
    """V_50 of the default junction at 1 ms is 381.8 mV (docs/physics.md)."""
    file = passive(1, 1, lines={"r_row": "0 ohm", "r_col": "0 ohm"}, random_state=False)
    at = (np.zeros(1, np.int64),) * 3
    for volts, switches in ((0.3815, False), (0.3822, True)):
        cells = ExpectedCells(file)
        bias = write_bias(file.shape, *at, np.ones(1, np.bool_)).scaled(volts)
        assert cells.pulse(bias, at, 1e-3).tolist() == [switches]
        assert cells.state.tolist() == [[[switches]]]


def test_a_cell_that_is_tried_again_and_again_fails_as_often_as_its_rate_says():
    file = passive(1, 1, lines={"r_row": "0 ohm", "r_col": "0 ohm"}, random_state=False)
    n = 400
    at = np.arange(n), *(np.zeros(n, np.int64),) * 2
    towards = np.arange(n) % 2 == 0
    bias = write_bias(file.shape, at[1], at[1], at[2], towards).scaled(np.where(towards, 0.3818, 0.6))
    wrote = ExpectedCells(file).pulse(bias, at, 1e-3)
    assert wrote[~towards].all()
    assert 0.45 < wrote[towards].mean() < 0.55


def test_cells_are_born_as_the_file_says_and_an_ideal_die_has_no_luck():
    assert ExpectedCells(passive(kernels=2)).state.sum(axis=(1, 2)).tolist() == [105, 105]
    ideal = passive(ideal=True)
    cells, at = ExpectedCells(ideal), tuple(np.indices(ideal.shape.shape).reshape(3, -1))
    assert not cells.state.any()
    for volts, written in ((0.38, 0), (0.38, 0), (0.384, 210)):
        bias = write_bias(ideal.shape, *at, np.ones(210, np.bool_)).scaled(volts)
        assert cells.pulse(bias, (np.arange(210), *at[1:]), 1e-3).sum() == written


def test_hidden_medians_and_defects_are_not_known():
    plain = passive()
    odd = passive(medians={"v_c0": 1.3, "ra": 0.8}, defects={"short": 0.2, "stuck_p": 0.2})
    assert plain.pace == odd.pace
    assert np.array_equal(ExpectedCells(plain)._cells.v_c0_p, ExpectedCells(odd)._cells.v_c0_p)
    assert passive(lines={"r_source": "25 ohm"}).pace != plain.pace


def counted(die) -> int:
    """Return the pulses of a survey."""
    stage = StagePlan("survey")
    for _ in Survey().run(CountedDie(Limited(die, LIMITS), stage, DiskEstimate(None)), History()):
        pass
    return stage.pulses


CHIP = {
    "name": "chip",
    "geometry": {"kind": "1T1R", "kernels": 3, "n_rows": 10, "n_cols": 8},
    "junction": {"diameter": "80 nm"},
    "simulation": {"defects": {"short": 0}},
}
FILES = {
    "25 ohm a line": (passive(9, 6, lines={"r_source": "25 ohm", "r_sense": "25 ohm"}), SimDie),
    "stiffer towards AP": (passive(9, 6, switching={"v_c0_ap": "550 mV"}), SimDie),
    "no spread": (passive(9, 6, spread={"v_c0": 0, "delta": 0}), SimDie),
    "chip": (DieDescription.model_validate(CHIP), ChipDie),
}


@pytest.mark.parametrize("name", FILES)
def test_a_survey_is_expected_to_give_the_pulses_that_simulated_dies_get_on_average(name):
    file, kind = FILES[name]
    expected = counted(NominalDie(file.shape, file.nominal, timing=lambda o: 0.0, cells=ExpectedCells(file)))
    given = np.mean([counted(kind(file, seed=seed, name="d")) for seed in range(2)])
    assert expected == pytest.approx(given, rel=0.1)


def test_a_nominal_die_takes_from_its_cells_what_a_pulse_writes():
    asked = []

    def pulse(bias, at, width):
        asked.append((tuple(i.tolist() for i in at), width))
        return np.arange(len(at[0])) % 2 == 0

    file = passive(2, 3)
    cells = SimpleNamespace(state=np.zeros((1, 2, 3), np.bool_), pulse=pulse)
    die = NominalDie(file.shape, file.nominal, timing=lambda o: 0.0, cells=cells)
    at = np.zeros(3, np.int64), np.array([0, 1, 1]), np.array([0, 1, 2])
    die.pulse(Pulse(write_bias(file.shape, *at, np.ones(3, np.bool_)).scaled(0.5), 2e-3))
    assert asked == [(([0, 1, 2], [0, 1, 1], [0, 1, 2]), 2e-3)]
    assert die.state[0].tolist() == [[True, False, False], [False, False, True]]
