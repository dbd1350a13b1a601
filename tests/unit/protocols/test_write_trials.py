"""Write error rates by trials: on simulated dies against the law of the junction, and what is judged before."""

import numpy as np
import pytest
from pydantic import ValidationError

from labctl.core.limits import Limited, Limits
from labctl.core.record import History
from protocols.records import Attempt, WriteErrorRate
from protocols.write_trials import WriteTrials
from sim_backend.description import DieDescription
from sim_backend.die import SimDie

QUIET = {"spread": {"v_c0": 0.0}}


def die_of(simulation, seed=3):
    keys = {
        "name": "die",
        "geometry": {"kernels": 1, "n_rows": 4, "n_cols": 4},
        "junction": {"diameter": "80 nm"},
        "simulation": simulation,
    }
    return SimDie(DieDescription.model_validate(keys, context={"file": True}), seed=seed, name="die")


def run(die, **settings):
    records = list(WriteTrials(**settings).run(die, History()))
    attempts = [record for record in records if isinstance(record, Attempt)]
    (rates,) = [record for record in records if isinstance(record, WriteErrorRate)]
    return attempts, rates


def test_on_an_ideal_die_pulses_switch_from_a_voltage_on_and_every_trial_counts():
    attempts, rates = run(die_of({"ideal": True}), cells=2, trials=5, v_start=0.3, v_max=0.6, v_step=0.3)
    low, high = rates.voltage < 0.35, rates.voltage > 0.35
    assert set(rates.wer[low & rates.first].tolist()) == {1.0}
    assert set(rates.wer[high].tolist()) == {0.0}
    assert {len(a.voltage) for a in attempts} == {10}
    assert len(attempts) == 2 * 2 * 2
    trials = [int((a.trial & (a.voltage < 0.35)).sum()) for a in attempts if (a.voltage < 0.35).any()]
    assert trials == [5] * 4, "each had a cell in the other state"


def test_rates_lie_between_those_of_the_voltages_around_them_and_add_up():
    die = die_of(QUIET)
    attempts, rates = run(die, cells=3, trials=60, v_start=0.36, v_max=0.44, v_step=0.02)
    for target in (True, False):
        chosen = (rates.target == target) & rates.first & (rates.voltage < 0.43)
        order = np.argsort(rates.voltage[chosen])
        wer = rates.wer[chosen][order]
        assert (np.diff(wer) <= 0.15).all(), wer
        assert wer[0] > wer[-1]
    pulses = sum(int((a.trial & (a.flag == 0)).sum()) for a in attempts)
    assert rates.pulses.sum() <= pulses


def test_limits_count_every_pulse_and_refuse_before_the_first():
    die = die_of({"ideal": True})
    keys = {"v_towards_p": 0.7, "v_towards_ap": 0.7, "width": 1e-2, "compliance": 1e-2, "v_count": 0.35}
    limited = Limited(die, Limits(**keys, pulses_per_cell=1000))
    list(WriteTrials(cells=1, trials=5, v_start=0.4, v_max=0.4).run(limited, History()))
    assert limited.counts.max() == 20
    strict = Limited(die, Limits(**keys, pulses_per_cell=3))
    with pytest.raises(Exception, match="pulses"):
        list(WriteTrials(cells=1, trials=5, v_start=0.4, v_max=0.4).run(strict, History()))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"trials": 3000, "v_start": 0.4, "v_max": 0.4}, "no more than its budget"),
        ({"scheme": "grounded"}, "whole row"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        WriteTrials(**settings)
