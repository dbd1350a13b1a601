"""The network stage: an ideal die classifies exactly as the float network, a bad one is reported as it is."""

import json
import os
import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from labctl.core.bias import Geometry, Kind, Nominal
from labctl.core.errors import BenchError
from labctl.core.operations import Operation, Pulse, Sense
from labctl.core.record import History, Record, units_of
from labctl.execution.nominal_die import NominalDie
from labctl.station.stages import written
from protocols.chip_inference import ChipInference
from protocols.network import Network
from protocols.records import (
    TABLES,
    Accuracy,
    Attempt,
    Inference,
    KernelSurvey,
    LayerCurrent,
    Prediction,
    ReadBack,
    Write,
    WriteErrorRate,
)
from protocols.samples import Dataset
from protocols.stage_inputs import Networks
from protocols.survey import Survey
from protocols.weights import Layer, Placement, Solution, float_predictions

NOMINAL = Nominal.alike(4e-4, 2e-4, 2)
APART = (Placement(kernel=0, row=1), Placement(kernel=1, row=0, col=1))
STACKED = (Placement(kernel=0), Placement(kernel=0, row=1))
DATA = os.environ.get("LABCTL_DATA")
WINE = Path(DATA or ".") / "wine" / "wine_13-6-3_solutions_000-099.npz"


def small(widths: tuple[int, ...] = (4, 3, 2), count: int = 3, **fields: Any) -> Network:
    """A network that fits 5 x 7 kernels."""
    rng = np.random.default_rng(2)

    def solution(index: int) -> Solution:
        pairs = pairwise(widths)
        return Solution(index, tuple(Layer(rng.integers(0, 2, (i, 2 * o)), rng.normal(size=o)) for i, o in pairs))

    defaults: dict[str, Any] = {
        "placement": APART,
        "solutions": Networks(tuple(solution(10 + k) for k in range(count))),
    }
    samples = {
        "x_train": rng.uniform(-1, 1, (21, widths[0])),
        "y_train": rng.integers(0, widths[-1], 21),
        "x_test": rng.uniform(-1, 1, (8, widths[0])),
        "y_test": rng.integers(0, widths[-1], 8),
    }
    samples |= {key: fields.pop(key) for key in samples if key in fields}
    return Network(**{**defaults, "data": Dataset(**samples), **fields})


def nominal(geometry: Geometry | None = None) -> NominalDie:
    shape = geometry or Geometry(2, 5, 7)
    return NominalDie(shape, Nominal.alike(4e-4, 2e-4, shape.kernels), timing=len)


def of(records: list[Any], kind: type[Record]) -> list[Any]:
    return [r for r in records if isinstance(r, kind)]


def assert_float(network: Network, records: list[Any]) -> None:
    """Every prediction is the one of the network in software, untuned and at the tuned scales."""
    for solution, trained, inference, predicted in zip(
        network.solutions,
        network.solutions.trained_scale,
        of(records, Inference),
        of(records, Prediction),
        strict=True,
    ):
        assert inference.solution == predicted.solution == solution.index
        np.testing.assert_array_equal(inference.scale, inference.float_scale)
        for tuning, scales in (("untuned", np.ones(len(solution.layers))), ("tuned", inference.scale)):
            for part, x in (("train", network.data.x_train), ("test", network.data.x_test)):
                expected = float_predictions(solution, x, scales * trained)
                np.testing.assert_array_equal(getattr(predicted, f"{tuning}_{part}"), expected)


@pytest.mark.parametrize("mode", ["superposition", "parallel"])
@pytest.mark.parametrize("placement", [APART, STACKED])
def test_ideal_die_predicts_as_float_does(mode: str, placement: tuple[Placement, ...]) -> None:
    network = small(placement=placement, inference={"mode": mode})
    die = nominal()
    records = list(network.run(die, History()))
    assert_float(network, records)
    assert [w.fidelity for w in of(records, Write)] == [1.0] * 3
    for inference in of(records, Inference):
        assert inference.error_worst.max() < 1e-12
        assert inference.accuracy_untuned_train == inference.float_untuned_train
        assert inference.accuracy_tuned_test == inference.float_tuned_test == inference.float_same_test
        assert inference.confusion_tuned_train.sum() == 21
        assert np.trace(inference.confusion_tuned_train) / 21 == pytest.approx(inference.accuracy_tuned_train)
        assert (
            inference.interval_untuned_test[0] <= inference.accuracy_untuned_test <= inference.interval_untuned_test[1]
        )
        assert not inference.flagged.any()


@pytest.mark.parametrize("mode", ["superposition", "parallel"])
def test_the_scales_of_the_training_are_those_of_the_die(mode: str) -> None:
    scale = np.array([[3.0, 0.5], [1.0, 2.0], [7.0, 1.0]])
    networks = small().solutions
    trained = Networks(networks.solutions, scale)
    network = small(solutions=trained, inference={"mode": mode}, calibrate=21)
    records = list(network.run(nominal(), History()))
    assert_float(network, records)
    other = [p.untuned_test for p in of(list(small(inference={"mode": mode}).run(nominal(), History())), Prediction)]
    assert any((p.untuned_test != q).any() for p, q in zip(of(records, Prediction), other, strict=True))
    for accuracy in of(records, Accuracy):  # on an ideal die each way is the network in software
        if accuracy.way != "tuned":
            assert accuracy.accuracy_test == pytest.approx(accuracy.software_test)


def test_a_network_of_other_neurons_is_refused() -> None:
    sign = Networks(small().solutions.solutions, activation="sign")
    with pytest.raises(ValidationError, match="neurons of solutions are sign, and this stage has tanh"):
        small(solutions=sign)
    assert small(solutions=Networks(sign.solutions, activation="tanh"))
    fields = {"solutions": sign, "data": small().data}
    with pytest.raises(ValidationError, match=r"those of the stage tanh; expected readout: {activation: sign}"):
        ChipInference(**fields)
    assert ChipInference(**fields, readout={"activation": "sign"})


@pytest.mark.parametrize("mode", ["superposition", "parallel"])
@pytest.mark.parametrize("widths", [(4, 3), (4, 2, 3, 2)])
def test_any_number_of_layers(mode: str, widths: tuple[int, ...]) -> None:
    places = tuple(Placement(kernel=k) for k in range(len(widths) - 1))
    network = small(widths, placement=places, inference={"mode": mode})
    records = list(network.run(nominal(Geometry(3, 5, 7)), History()))
    assert_float(network, records)


def test_chip_of_transistor_cells() -> None:
    network = small(inference={"mode": "parallel"})
    records = list(network.run(nominal(Geometry(2, 5, 7, Kind.ONE_T_ONE_R, -1)), History()))
    assert_float(network, records)


def test_records_tell_what_is_on_the_die() -> None:
    network = small()
    records = list(network.run(nominal(), History()))
    backs = of(records, ReadBack)
    assert len(backs) == 3
    for solution, back in zip(network.solutions, backs, strict=True):
        np.testing.assert_array_equal(back.target, np.concatenate([x.devices.ravel() for x in solution.layers]))
        np.testing.assert_array_equal(back.state, back.target)
        np.testing.assert_array_equal(back.layer, np.repeat([0, 1], [24, 12]))
        np.testing.assert_allclose(back.conductance, np.where(back.target, 4e-4, 2e-4))
    currents = of(records, LayerCurrent)[0]
    assert currents.untuned.shape == currents.tuned_ideal.shape == (29, 6 + 4)
    np.testing.assert_allclose(currents.untuned, currents.untuned_ideal, atol=1e-17)
    np.testing.assert_array_equal(currents.layer, np.repeat([0, 1], [6, 4]))
    # a later solution changes only what differs
    changed = sum(
        (a.devices != b.devices).sum()
        for a, b in zip(network.solutions[1].layers, network.solutions[2].layers, strict=True)
    )
    assert of(records, Write)[2].pulses == changed
    assert sum(len(a.flag) for a in of(records, Attempt) if a.solution[0] == 12) == changed


def test_in_open_loop_every_cell_is_pulsed_and_both_fidelities_are_told(threshold_die: Callable[..., Any]) -> None:
    network = small(write_verify={"mode": "open_loop", "repair_rounds": 1})
    die = threshold_die(Geometry(2, 5, 7))
    row, col = np.argwhere(network.solutions[0].layers[0].devices)[0]
    die.v_switch[0, int(row) + 1, int(col)] = 0.43  # more than the first rung
    records = list(network.run(die, History()))
    writes = of(records, Write)
    assert [w.fidelity for w in writes] == [1.0] * 3
    assert writes[0].fidelity_blind == pytest.approx(35 / 36)
    assert all(w.pulses >= 36 for w in writes)
    # the states before the first solution are not known, so its pulses are no trials
    changed = [
        np.concatenate([(a.devices != b.devices).ravel() for a, b in zip(s.layers, t.layers, strict=True)])
        for s, t in pairwise(network.solutions)
    ]
    (rates,) = of(records, WriteErrorRate)
    assert rates.pulses[rates.first].sum() == sum(int(c.sum()) for c in changed)
    repaired = sum(round(36 * (1 - w.fidelity_blind)) for w in writes)
    assert rates.pulses[~rates.first & (rates.voltage == 0.44)].sum() == repaired > 0
    plain = list(small().run(threshold_die(Geometry(2, 5, 7)), History()))
    assert all(np.isnan(w.fidelity_blind) for w in of(plain, Write))


def test_stacked_layers_are_summed_up_in_one_row_per_solution() -> None:
    records = list(small(placement=STACKED).run(nominal(), History()))
    writes = of(records, Write)
    assert [w.cells for w in writes] == [36] * 3
    assert len(of(records, ReadBack)) == 6
    assert all(w.correct == 36 for w in writes)
    np.testing.assert_array_equal(
        np.concatenate([b.layer for b in of(records, ReadBack)[:2]]), np.repeat([0, 1], [24, 12])
    )


@pytest.mark.parametrize("mode", ["superposition", "parallel"])
def test_faults_show_in_the_results(mode: str, threshold_die: Callable[..., Any]) -> None:
    network = small(inference={"mode": mode})
    die = threshold_die(Geometry(2, 5, 7))
    target = network.solutions[0].layers[0].devices
    row, col = np.argwhere(target)[0]
    stuck = (0, int(row) + 1, int(col))
    die.v_switch[stuck] = np.inf
    history = History(list(Survey().run(die, History())))
    records = list(network.run(die, history))
    write = of(records, Write)[0]
    assert (write.correct, write.gave_up) == (35, 1)
    back = of(records, ReadBack)[0]
    assert np.flatnonzero(back.state != back.target).tolist() == [int(row) * 6 + int(col)]
    inference = of(records, Inference)[0]
    x = np.concatenate([network.data.x_train, network.data.x_test])[:, row]
    np.testing.assert_allclose(inference.error_worst[0], np.abs(x).max(), rtol=1e-9)
    np.testing.assert_allclose(inference.error_rms[0], np.sqrt((x**2).mean() / 6), rtol=1e-9)
    assert inference.error_worst[1] < 1e-9


def test_normalisation_is_the_surveyed_mean_of_the_good_cells(threshold_die: Callable[..., Any]) -> None:
    die = threshold_die(Geometry(2, 5, 7))
    rng = np.random.default_rng(9)
    die.g_p *= rng.uniform(0.9, 1.1, die.g_p.shape)
    die.g_p[0, 1, 0] = die.g_ap[0, 1, 0] = 1 / 200
    history = History(list(Survey().run(die, History())))
    placed = np.zeros((5, 7), np.bool_)
    placed[1:5, 0:6] = True
    placed[1, 0] = False
    expected = (die.g_p[0][placed] - die.g_ap[0][placed]).mean()
    inference = of(list(small(count=1).run(die, history)), Inference)[0]
    assert inference.delta_g[0] == pytest.approx(expected, rel=1e-9)
    plain = small(count=1, inference={"normalisation": "nominal"})
    assert of(list(plain.run(die, history)), Inference)[0].delta_g.tolist() == [2e-4, 2e-4]


def test_what_a_bench_has_to_do_is_batched() -> None:
    seen: list[Operation] = []

    class Watching(NominalDie):
        def _sense(self, sense: Sense) -> Any:
            seen.append(sense)
            return super()._sense(sense)

        def _pulse(self, pulse: Pulse) -> Any:
            seen.append(pulse)
            return super()._pulse(pulse)

    die = Watching(Geometry(2, 5, 7), NOMINAL, timing=len)
    network = small(count=1, inference={"mode": "parallel"})
    list(network.run(die, History()))
    # the placed cells (3 + 4 rows, of two widths) twice, the others before and after; one round of pulses; layer 1,
    # tuning, two passes of layer 2
    others, placed = [4, 3, 3], [3, 4]
    reads = [len(s) for s in seen if isinstance(s, Sense)]
    assert reads == [*others, *placed, *placed, *others, 29, 31 * 21, 29, 29]
    assert len([s for s in seen if isinstance(s, Pulse)]) == 1
    seen.clear()
    list(small(count=1).run(Watching(Geometry(2, 5, 7), NOMINAL, timing=len), History()))
    assert [len(s) for s in seen if isinstance(s, Sense)] == [*others, *placed, *placed, *others, 8, 6]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"x_train": np.zeros((21, 5))}, "solutions has 4 inputs; the data set 'data' has 5 features"),
        ({"x_train": np.zeros(21)}, r"x_train of 'data' is \(21,\)"),
        ({"y_test": np.zeros(7, int)}, r"y_test \(7,\); expected \(samples, 4\) and \(samples,\)"),
        ({"x_test": np.full((8, 4), 1.5)}, "x_test of 'data' reaches 1.5, expected -1 to 1"),
        ({"x_test": np.full((8, 4), -1 - 2e-16)}, "reaches -1.0000000000000002, .*preprocess: scale"),
        ({"x_test": np.full((8, 4), np.nan)}, "x_test of 'data' reaches nan"),
        ({"y_train": np.full(21, 2)}, "classes 2 to 2, expected whole numbers from 0 to 1"),
        ({"y_test": np.zeros(8)}, "whole numbers from 0 to 1"),
    ],
)
def test_data_that_do_not_belong_together_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        small(**fields)


def test_what_does_not_fit_is_refused_before_anything_is_done() -> None:
    die = nominal()
    with pytest.raises(BenchError, match="layer 1 of 4 x 6 cells does not fit"):
        next(small(placement=(Placement(row=2), APART[1])).run(die, History()))
    three = small((4, 2, 3, 2), placement=(Placement(),) * 3, inference={"mode": "parallel"})
    with pytest.raises(BenchError, match="read by superposition"):
        next(three.run(die, History()))
    assert not die.state.any()


def test_settings_have_a_schema_and_read_quantities() -> None:
    stage = written(Network)
    assert written(Survey) is Survey
    for model in (stage, Survey):
        assert json.loads(json.dumps(model.model_json_schema()))["properties"]
    inputs = {"solutions": "a.npz", "data": "wine"}
    keys = {**inputs, "placement": [{"kernel": 1}], "write_verify": {"width": "2 ms", "scheme": "third"}}
    settings = stage.model_validate(keys)
    assert settings.write_verify.width == 2e-3
    with pytest.raises(ValidationError, match="no unit"):
        stage.model_validate(
            keys | {"data": __file__, "solutions": __file__, "write_verify": {"width": 2}}, context={"file": True}
        )


def test_a_stage_can_be_sent_to_another_process() -> None:
    network = small()
    again = pickle.loads(pickle.dumps(network))
    np.testing.assert_array_equal(again.data.x_train, network.data.x_train)
    assert again.solutions[1].index == 11


def test_tables_have_names_and_units() -> None:
    assert len({t.table for t in TABLES}) == len(TABLES) == 13
    assert units_of(Attempt)["conductance"] == units_of(KernelSurvey)["g_ap"] == "S"
    assert units_of(Attempt)["voltage"] == units_of(Write)["rung"] == "V"
    assert units_of(LayerCurrent)["tuned"] == "A"
    assert units_of(Write)["width"] == "s"


@pytest.fixture(scope="module")
def wine() -> Any:
    if not DATA or not WINE.is_file():
        pytest.skip(f"the published solutions are not here; set LABCTL_DATA to a folder with {WINE.name} in wine/")
    with np.load(WINE) as file:
        return dict(file)


@pytest.mark.parametrize("mode", ["superposition", "parallel"])
@pytest.mark.parametrize("surveyed", [True, False])
def test_published_solutions_on_an_ideal_die(wine: Any, mode: str, surveyed: bool) -> None:
    keys = ("index", "fc1_devices", "fc1_bias", "fc2_devices", "fc2_bias")
    network = Network(
        placement=(Placement(kernel=0, row=2, col=3), Placement(kernel=1)),
        inference={"mode": mode},  # type: ignore[arg-type]
        solutions=Networks(
            tuple(
                Solution(int(i), (Layer(d1, b1), Layer(d2, b2)))
                for i, d1, b1, d2, b2 in zip(*(wine[k] for k in keys), strict=True)
            )
        ),
        data=Dataset(*(wine[k] for k in ("x_train", "y_train", "x_test", "y_test"))),
    )
    die = NominalDie(Geometry(2, 15, 15), Nominal.alike(1 / 2400, 1 / 5280, 2), timing=len)
    history = History(list(Survey().run(die, History()))) if surveyed else History()
    records = list(network.run(die, history))
    assert len(of(records, Inference)) == 100
    assert_float(network, records)
    assert all(w.fidelity == 1.0 for w in of(records, Write))
