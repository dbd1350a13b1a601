"""Write error rates by trials: on simulated dies against the law of the junction, and what is judged before."""

from dataclasses import fields, replace

import numpy as np
import pytest
from pydantic import ValidationError

from labctl.core.bias import Geometry
from labctl.core.errors import BenchError
from labctl.core.limits import Limited, Limits
from labctl.core.operations import Attempts, Reading
from labctl.core.record import History
from protocols.cell_knowledge import CellKnowledge
from protocols.records import Attempt, WriteErrorRate
from protocols.survey import Survey
from protocols.write_trials import PART, WriteTrials
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


def run(die, history=None, **settings):
    records = list(WriteTrials(**settings).run(die, history or History()))
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


def test_on_the_wafer_map_is_the_rate_of_the_lowest_voltage():
    die = die_of(QUIET)
    attempts, rates = run(die, cells=3, trials=40, v_start=0.38, v_max=0.44, v_step=0.06)
    names = [field.name for field in fields(Attempt)]
    tables = {"attempt": {name: np.concatenate([getattr(a, name) for a in attempts]) for name in names}}
    shown = {figure.key: figure for figure in WriteTrials.figures if figure.on_map}
    assert shown.keys() == {"trial_wer_p", "trial_wer_ap"}
    for key, target in (("trial_wer_p", True), ("trial_wer_ap", False)):
        (row,) = np.flatnonzero((rates.target == target) & rates.first & (rates.voltage < 0.39))
        assert rates.pulses[row] == 3 * 40
        assert 0 < rates.wer[row] < 1
        assert shown[key].formula(tables) == pytest.approx(rates.wer[row])
    assert shown["trial_wer_p"].formula({"attempt": {name: tables["attempt"][name][:0] for name in names}}) is None


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


SMALL = Geometry(1, 2, 2)
ONE = {"cells": 1, "v_start": 0.5, "v_max": 0.5}


def before_each_pulse(die, act):
    """Let `act(k)` happen before the k-th pulse of a die, from 1."""
    whole, number = die._pulse, iter(range(1, 10_000))

    def pulse(operation):
        parts = []
        for i in range(len(operation)):
            act(next(number))
            parts.append(whole(operation.take(slice(i, i + 1))))
        return Reading.join(parts)

    die._pulse = pulse


@pytest.mark.parametrize("conductance", [3e-3, 1e-1], ids=["read as it is", "in compliance"])
@pytest.mark.parametrize("at", [1, 7, 2 * PART, 2 * PART + 1])
def test_a_cell_that_becomes_a_short_is_pulsed_to_the_end_of_its_plan_and_no_more(threshold_die, conductance, at):
    die = threshold_die(SMALL)

    def act(number):
        if number == at:
            die.g_p[0, 0, 0] = die.g_ap[0, 0, 0] = conductance

    before_each_pulse(die, act)
    attempts, rates = run(die, trials=3 * PART, **ONE | {"cells": 2})
    assert die.applied[0, 0, 0] == 2 * PART * -(-at // (2 * PART)) <= at + 2 * PART - 1
    assert die.applied[0, 1, 1] == 2 * 2 * 3 * PART, "the other cell has all its trials"
    assert {tuple(np.unique(a.row)) for a in attempts} == {(0,), (1,)}
    assert rates.pulses[rates.first].sum() >= 2 * 3 * PART


def test_a_cell_with_a_flagged_read_is_left_and_the_next_one_goes_on(threshold_die):
    die = threshold_die(SMALL)
    die.bad[0, 0] = [4]  # invalid, once
    run(die, trials=2 * PART, **ONE | {"cells": 2})
    assert (die.applied[0, 0, 0], die.applied[0, 1, 1]) == (2 * PART, 8 * PART)


def test_a_first_pulse_counts_if_the_plan_before_it_has_left_something_to_switch(threshold_die):
    die, history = threshold_die(SMALL), History()
    for record in Survey(v_max=0.6).run(die, History()):
        history.add(record)
    die.state[:] = True
    attempts, _ = run(die, history, cells=1, trials=PART + 1, v_start=0.3, v_max=0.5, v_step=0.2)
    firsts = [(bool(a.target[1]), float(a.voltage[1]), bool(a.trial[0])) for a in attempts]
    assert firsts[1:] == [
        (True, 0.3, False),  # left AP by weak pulses, and set back to AP
        (True, 0.5, False),
        (True, 0.5, True),  # left P
        (False, 0.3, False),
        (False, 0.3, False),
        (False, 0.5, False),
        (False, 0.5, True),
    ]


@pytest.mark.parametrize("short", [False, True])
def test_a_script_that_was_lost_counts_no_trial_and_a_read_decides_whether_the_cell_goes_on(threshold_die, short):
    die = threshold_die(SMALL)
    carried_out, plans = die._program, []

    def program(plan):
        plans.append(len(plan))
        if len(plans) > 1:
            return carried_out(plan)
        if short:
            die.g_p[0, 0, 0] = die.g_ap[0, 0, 0] = 1e-1
        return Attempts.at_most(plan).judged(plan, np.arange(len(plan)), die.sense(plan.verify))

    die._program = program
    records = list(WriteTrials(trials=PART + 2, **ONE).run(die, History()))
    if short:
        assert plans == [2 * PART]
        assert die.pulses == 0
        return
    assert plans == [2 * PART, 4] * 2
    *attempts, rates = records
    assert attempts[1].trial[:2].tolist() == [False, True], "the read has found it AP already"
    known = sum(int((a.trial & (a.flag == 0)).sum()) for a in attempts[1:])
    assert rates.pulses.sum() == known
    assert not rates.failures.any()


def test_no_cell_is_given_up_for_its_trials(threshold_die):
    die, history, random = threshold_die(SMALL), History(), np.random.default_rng(2)
    settings = {"cells": 4, "trials": 20, "v_start": 0.5, "v_max": 0.5}

    def act(number):
        die.v_switch[:] = np.where(random.random(SMALL.shape) < 0.5, 0.4, np.inf)

    before_each_pulse(die, act)
    for _ in range(2):
        attempts, rates = run(die, history, **settings)
        for record in attempts:
            history.add(record)
        assert (np.abs(rates.wer - 0.5) < 0.2).all()
    trials = WriteTrials(**settings)
    known = CellKnowledge(die, history, trials.short_above, trials.v_read)
    every = tuple(index.ravel() for index in np.indices(SMALL.shape))
    for target in (True, False):
        assert not known.hopeless(every, np.full(4, target), trials).any()
        assert known.switches[int(target)].all()
    assert known.pulses.sum() == die.pulses


def test_a_budget_is_judged_for_every_cell_before_the_first_pulse(threshold_die):
    die, history = threshold_die(SMALL), History()
    record, *_ = run(die, trials=2, **ONE)[0]
    history.add(replace(record, row=np.ones(4, int), col=np.ones(4, int)))
    die.pulses = 0
    with pytest.raises(BenchError, match=r"cell 0, 1, 1 has had 4 pulses, and its 40 .* budget, 43"):
        run(die, history, trials=10, budget=43, **ONE | {"cells": 4})
    assert die.pulses == 0
