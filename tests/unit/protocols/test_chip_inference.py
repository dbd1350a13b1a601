"""The chip's stage: an ideal die infers as software does, whatever the tiling; what goes wrong is a record."""

import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from labctl.core.bias import Geometry, Kind, Nominal
from labctl.core.errors import BenchError
from labctl.core.operations import Flag, Reading, Sense
from labctl.core.record import History, Record
from labctl.execution.nominal_die import NominalDie
from protocols.bias import V_GATE
from protocols.chip_inference import ChipInference, software
from protocols.chip_readout import Activation, ChipReadout
from protocols.readout import Normalisation
from protocols.records import Accuracy, Inference, LayerCurrent, Prediction, ReadBack, Write
from protocols.samples import Dataset
from protocols.settings import InferenceReadSettings, SecondGate
from protocols.stage_inputs import Networks
from protocols.survey import Survey
from protocols.weights import Layer, Solution, float_predictions

GEOMETRY = Geometry(16, 3, 5, Kind.ONE_T_ONE_R)
NOMINAL = Nominal.alike(4e-4, 2e-4, 16)


def chip(widths: tuple[int, ...] = (7, 4, 3), count: int = 2, **fields: Any) -> ChipInference:
    """A stage for kernels of 3 x 5 cells; scales 1 to 3 were trained."""
    rng = np.random.default_rng(5)

    def solution(index: int) -> Solution:
        pairs = pairwise(widths)
        return Solution(index, tuple(Layer(rng.integers(0, 2, (i, 2 * o)), rng.normal(size=o)) for i, o in pairs))

    defaults: dict[str, Any] = {
        "readout": ChipReadout(tune_on=20, samples_kept=4, scales=5),
    }
    networks = {"solutions": tuple(solution(20 + k) for k in range(count))}
    samples = {
        "x_train": rng.uniform(-1, 1, (31, widths[0])),
        "y_train": rng.integers(0, widths[-1], 31),
        "x_test": rng.uniform(-1, 1, (11, widths[0])),
        "y_test": rng.integers(0, widths[-1], 11),
    }
    networks["scale"] = rng.uniform(1, 3, (count, len(widths) - 1))
    networks |= {key: fields.pop(key) for key in networks if key in fields}
    samples |= {key: fields.pop(key) for key in samples if key in fields}
    return ChipInference(**{**defaults, "solutions": Networks(**networks), "data": Dataset(**samples), **fields})


def nominal(geometry: Geometry = GEOMETRY) -> NominalDie:
    return NominalDie(geometry, Nominal.alike(4e-4, 2e-4, geometry.kernels), timing=len)


def surveyed(die: Any, stage: ChipInference) -> History:
    """Survey a die as `stage` will read it."""
    history, read = History(), stage.readout
    inference = InferenceReadSettings(v_read=read.v_read, v_gate=read.v_gate, second_gate=read.second_gate)
    for record in Survey(inference=inference).run(die, history):
        history.add(record)
    return history


def of(records: list[Record], kind: type[Record]) -> list[Any]:
    return [r for r in records if isinstance(r, kind)]


@pytest.mark.parametrize("widths", [(7, 3), (7, 4, 3), (4, 5, 4, 3)])
@pytest.mark.parametrize("activation", ["tanh", "sign"])
def test_ideal_die_infers_as_software_does(widths: tuple[int, ...], activation: str) -> None:
    readout = ChipReadout(tune_on=20, samples_kept=4, scales=5, activation=Activation(activation))
    stage = chip(widths, readout=readout)
    records = list(stage.run(nominal(), History()))
    assert [w.fidelity for w in of(records, Write)] == [1.0, 1.0]
    for solution, trained, inference, predicted in zip(
        stage.solutions, stage.solutions.trained_scale, of(records, Inference), of(records, Prediction), strict=True
    ):
        assert inference.solution == predicted.solution == solution.index
        np.testing.assert_array_equal(inference.scale, inference.float_scale)
        for tuning, scale in (("untuned", trained), ("tuned", trained * inference.scale)):
            for part, x in (("train", stage.data.x_train[:20]), ("test", stage.data.x_test)):
                expected = software(solution, x, scale, Activation(activation))
                np.testing.assert_array_equal(getattr(predicted, f"{tuning}_{part}"), expected)
        assert inference.float_tuned_test == inference.accuracy_tuned_test
        assert inference.error_worst.max() < 1e-9
        assert inference.confusion_tuned_test.sum() == 11
        assert np.trace(inference.confusion_tuned_test) / 11 == pytest.approx(inference.accuracy_tuned_test)
        low, high = inference.interval_tuned_test
        assert low <= inference.accuracy_tuned_test <= high
        assert not inference.flagged.any()


@pytest.mark.parametrize("normalisation", ["surveyed", "nominal"])
def test_kernels_of_two_sizes_infer_as_software_does(normalisation: str) -> None:
    """Every tile counts in units of its own cells; with one unit for all, the small kernels' weights would be lost."""
    g_p = np.tile([3.5e-4, 9.8e-4], 8)
    die = NominalDie(GEOMETRY, Nominal(g_p.tolist(), (g_p / 2.2).tolist()), timing=len)
    readout = ChipReadout(tune_on=20, samples_kept=4, scales=5, normalisation=Normalisation(normalisation))
    stage = chip((7, 4, 3), readout=readout)
    history = History()
    if normalisation == "surveyed":
        for record in Survey().run(die, history):
            history.add(record)
    records = list(stage.run(die, history))
    assert [w.fidelity for w in of(records, Write)] == [1.0, 1.0]
    for solution, trained, inference, predicted in zip(
        stage.solutions, stage.solutions.trained_scale, of(records, Inference), of(records, Prediction), strict=True
    ):
        expected = software(solution, stage.data.x_test, trained * inference.scale, Activation.TANH)
        np.testing.assert_array_equal(predicted.tuned_test, expected)
        assert inference.error_worst.max() < 1e-9


def test_software_is_the_float_network_for_tanh() -> None:
    stage = chip()
    scale = np.array([1.5, 0.7])
    np.testing.assert_array_equal(
        software(stage.solutions[0], stage.data.x_test, scale),
        float_predictions(stage.solutions[0], stage.data.x_test, scale),
    )


def test_sign_drives_full_scale_only() -> None:
    assert Activation.SIGN.drive(np.array([-0.2, 0.0, 0.9])).tolist() == [-1.0, 1.0, 1.0]


def test_tuning_never_loses_training_samples() -> None:
    for inference in of(list(chip(count=4).run(nominal(), History())), Inference):
        assert inference.accuracy_tuned_train >= inference.accuracy_untuned_train


def test_currents_of_the_first_test_samples_are_kept_and_no_more() -> None:
    stage = chip(count=1)
    (current,) = of(list(stage.run(nominal(), History())), LayerCurrent)
    assert current.layer.tolist() == [0] * 8 + [1] * 6
    assert current.tuned.shape == current.untuned_ideal.shape == (4, 14)
    devices = stage.solutions[0].layers[0].devices
    expected = 0.1 * stage.data.x_test[:4] @ np.where(devices, NOMINAL.g_p(0), NOMINAL.g_ap(0))
    np.testing.assert_allclose(current.untuned[:, :8], expected, rtol=1e-12)


def test_one_batch_per_kernel_and_layer() -> None:
    class Counting(NominalDie):
        batches: list[tuple[int, int, int]]

        def _sense(self, sense: Sense) -> Reading:
            kernels = np.unique(sense.bias.kernel)
            if len(kernels) == 1 and len(sense) >= 31:
                self.batches.append((int(kernels[0]), len(sense), sense.cols.shape[1]))
            return super()._sense(sense)

    die = Counting(GEOMETRY, NOMINAL, timing=len)
    die.batches = []
    list(chip(count=1, kernels=tuple(range(15, 0, -1))).run(die, History()))
    # 7 x 8 cells on 3 x 5: 3 tiles down, 2 across, in the order given; 20 training and 11 test samples
    first = [(k, n, m) for k, n, m in die.batches if k >= 10]
    assert first == [(15, 31, 5), (14, 31, 3), (13, 31, 5), (12, 31, 3), (11, 31, 5), (10, 31, 3)]


def test_reads_without_a_value_are_repeated_and_ends_of_range_are_kept() -> None:
    class Faulty(NominalDie):
        lost = 0

        def _sense(self, sense: Sense) -> Reading:
            reading = super()._sense(sense)
            if len(sense) == 31 and self.lost == 0:
                self.lost = 1
                reading.current[3, 1], reading.flag[3, 1] = np.nan, Flag.INVALID
                reading.flag[5, 0] = Flag.OVERRANGE
            elif len(sense) == 1:
                self.lost += 1
            return reading

    good = list(chip(count=1).run(nominal(), History()))
    die = Faulty(GEOMETRY, NOMINAL, timing=len)
    records = list(chip(count=1).run(die, History()))
    assert die.lost == 2
    np.testing.assert_array_equal(of(records, Prediction)[0].tuned_test, of(good, Prediction)[0].tuned_test)
    assert of(records, Inference)[0].flagged.tolist() == [1, 0]


def test_known_shorts_get_no_pulse_and_stay_in_the_count(threshold_die: Callable[..., Any]) -> None:
    stage = chip((2, 1), count=1, scale=None)
    die = threshold_die(Geometry(2, 3, 5))  # passive: its plain loop knows no gates
    devices = stage.solutions[0].layers[0].devices
    row, col = map(int, np.argwhere(~devices)[0])
    die.g_p[0, row, col] = die.g_ap[0, row, col] = 5e-3
    history = History(list(Survey(kernels=(0,)).run(die, History())))
    before = die.applied[0, row, col]
    records = list(stage.run(die, history))
    (write,) = of(records, Write)
    assert (write.cells, write.shorts, write.correct) == (4, 1, 3)
    assert die.applied[0, row, col] == before
    (readback,) = of(records, ReadBack)
    assert readback.target.sum() == devices.sum()


def test_a_network_that_does_not_fit_is_refused_before_anything_is_done() -> None:
    die = nominal(Geometry(7, 3, 5, Kind.ONE_T_ONE_R))
    with pytest.raises(BenchError, match=r"7-4-3 needs 10 kernels of 3 x 5 \(6 \+ 4 for its layers\), the die has 7"):
        next(chip().run(die, History()))
    assert not die.state.any()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"x_test": np.full((11, 7), 1.01)}, "reaches 1.01, expected -1 to 1"),
        ({"y_test": np.full(11, 3)}, "whole numbers from 0 to 2"),
        ({"x_train": np.zeros((31, 6))}, "has 7 inputs; the data set 'data' has 6 features"),
        ({"readout": {"scale_min": 2.0, "scale_max": 1.0}}, "scale_max 1 is below scale_min 2"),
    ],
)
def test_what_does_not_fit_together_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        chip(**fields)


def test_a_rehearsal_is_the_first_solution_and_travels() -> None:
    short, times = pickle.loads(pickle.dumps(chip(count=3))).rehearsal()
    assert times == 3
    assert isinstance(short, ChipInference)
    assert [s.index for s in short.solutions] == [20]
    assert len(of(list(short.run(nominal(), History())), Inference)) == 1


def test_outputs_of_a_class_vote() -> None:
    stage = chip((7, 4, 6), count=2)
    solutions = tuple(Solution(s.index, s.layers, votes=2) for s in stage.solutions)
    labels = {name: getattr(stage.data, name) % 3 for name in ("y_train", "y_test")}
    stage = chip((7, 4, 6), solutions=solutions, **labels)
    records = list(stage.run(nominal(), History()))
    for solution, trained, predicted, inference in zip(
        solutions, stage.solutions.trained_scale, of(records, Prediction), of(records, Inference), strict=True
    ):
        hidden, last = solution.layers
        a = np.tanh(stage.data.x_test @ hidden.weight / trained[0] + hidden.bias)
        u = a @ last.weight / trained[1] + last.bias
        expected = (u[:, :3] + u[:, 3:]).argmax(axis=1)
        np.testing.assert_array_equal(predicted.untuned_test, expected)
        np.testing.assert_array_equal(software(solution, stage.data.x_test, trained), expected)
        np.testing.assert_array_equal(float_predictions(solution, stage.data.x_test, trained), expected)
        assert inference.confusion_tuned_test.shape == (3, 3)
    with pytest.raises(ValidationError, match="whole numbers from 0 to 2"):
        chip((7, 4, 6), solutions=solutions)
    with pytest.raises(BenchError, match="6 outputs are not 4 for each class"):
        Solution(0, solutions[0].layers, votes=4)


def test_what_a_column_carries_at_no_input_is_subtracted() -> None:
    class Offset(NominalDie):
        """With several gates open every column of every kernel is off by its own constant."""

        def _sense(self, sense: Sense) -> Reading:
            reading = super()._sense(sense)
            assert sense.bias.gate is not None
            several = (sense.bias.gate > 0).sum(axis=1, keepdims=True) > 1
            reading.current[:] += several * 1e-5 * (1 + sense.cols + 7 * sense.bias.kernel[:, None])
            return reading

    stage = chip(count=1)
    plain = of(list(stage.run(nominal(), History())), LayerCurrent)[0]
    off = Offset(GEOMETRY, NOMINAL, timing=len)
    zeroed = of(list(stage.run(off, History())), LayerCurrent)[0]
    np.testing.assert_allclose(zeroed.untuned, plain.untuned, atol=1e-16)
    raw = chip(count=1, readout=stage.readout.model_copy(update={"dark": 0}))
    biased = of(list(raw.run(Offset(GEOMETRY, NOMINAL, timing=len), History())), LayerCurrent)[0]
    # 7 inputs take three tiles below each other; of the last, kernel 4, one gate is open only
    np.testing.assert_allclose((biased.untuned - plain.untuned)[:, 0], np.full(4, 1e-5 * (2 + 7 * 2)))


def test_reading_both_ways_leaves_what_changes_its_sign_with_the_inputs() -> None:
    class Bent(NominalDie):
        """Columns with an offset, whose cells conduct less the higher the voltage of their row is."""

        patterns = 0

        def _sense(self, sense: Sense) -> Reading:
            reading = super()._sense(sense)
            self.patterns += len(sense)
            bend = -1e-3 * (sense.bias.row**2).sum(axis=1, keepdims=True) * (1 + sense.cols)
            reading.current[:] += 2e-6 * sense.cols + bend
            return reading

    def currents(both_ways: bool) -> tuple[Any, int]:
        bent = Bent(GEOMETRY, NOMINAL, timing=len)
        stage = chip(count=1, readout=readout.model_copy(update={"both_ways": both_ways}))
        (current,) = of(list(stage.run(bent, History())), LayerCurrent)
        return current, bent.patterns

    readout = chip().readout
    (plain,) = of(list(chip(count=1).run(nominal(), History())), LayerCurrent)
    (bent, one_way), (straight, both) = currents(False), currents(True)
    assert np.abs(bent.untuned - plain.untuned).max() > 1e-5
    np.testing.assert_allclose(straight.untuned, plain.untuned, atol=1e-16)
    assert both > 1.5 * one_way


def test_a_share_of_what_is_read_at_a_second_gate_is_taken_off() -> None:
    class Gated(NominalDie):
        """A column carries the more the more the gates are open, and has an offset, which depends on the gates too."""

        def __init__(self) -> None:
            super().__init__(GEOMETRY, NOMINAL, timing=len)
            self.gates: set[float] = set()

        def _sense(self, sense: Sense) -> Reading:
            reading = super()._sense(sense)
            gate = sense.bias.gate.max(axis=1, keepdims=True)
            self.gates |= set(gate.ravel().tolist()) - {0.0}
            reading.current[:] = reading.current * gate / V_GATE + 1e-7 * gate
            return reading

    def currents(**changes: Any) -> tuple[Any, Gated]:
        die = Gated()
        stage = chip(count=1, readout=chip().readout.model_copy(update=changes))
        records = list(stage.run(die, surveyed(die, stage)))
        assert all(record.second_gate == ("second_gate" in changes) for record in of(records, Accuracy))
        (current,) = of(records, LayerCurrent)
        return current, die

    plain = of(list(chip(count=1).run(nominal(), History())), LayerCurrent)[0].untuned
    first = chip().solutions[0].shapes[0][1]
    currents()  # at one gate
    for both_ways in (False, True):
        second = SecondGate(v_gate=3.0, share=0.2)
        less, die = currents(v_gate=1.5, second_gate=second, both_ways=both_ways)
        assert die.gates >= {1.5, 3.0}
        np.testing.assert_allclose(less.untuned[:, :first], (1.5 - 0.2 * 3.0) / V_GATE * plain[:, :first], atol=1e-15)


class Losing(NominalDie):
    """Its second column has an offset, and from then on that `lost` says so no value at a gate of 3 V."""

    lost = False

    def _sense(self, sense: Sense) -> Reading:
        reading = super()._sense(sense)
        reading.current[sense.cols == 1] += 1e-6
        here = self.lost & (sense.cols == 1) & (sense.bias.gate.max(axis=1, keepdims=True) == 3)
        reading.current[here], reading.flag[here] = 5e-5, Flag.INVALID
        return reading


def test_a_vector_without_a_value_at_one_of_two_gates_counts_nothing() -> None:
    second = SecondGate(v_gate=3.0, share=0.2)
    stage = chip(count=1, readout=chip().readout.model_copy(update={"v_gate": 1.5, "second_gate": second}))

    def currents(lost: bool) -> Any:
        die = Losing(GEOMETRY, NOMINAL, timing=len)
        history = surveyed(die, stage)
        die.lost = lost
        (current,) = of(list(stage.run(die, history)), LayerCurrent)
        return current.untuned

    plain, lossy = currents(False), currents(True)
    assert np.abs(plain[:, 1]).min() > 0
    assert np.all(lossy[:, 1] == 0)
    np.testing.assert_array_equal(lossy[:, 0], plain[:, 0])


def test_a_column_whose_offset_has_no_value_counts_nothing_and_is_flagged() -> None:
    class Silent(NominalDie):
        """What its second column carries with all rows at 0 V has no value."""

        def _sense(self, sense: Sense) -> Reading:
            reading = super()._sense(sense)
            lost = (sense.cols == 1) & ~sense.bias.row.any(axis=1, keepdims=True)
            reading.current[lost], reading.flag[lost] = 5e-5, Flag.INVALID
            return reading

    plain, lossy = (
        list(chip(count=1).run(die, History())) for die in (nominal(), Silent(GEOMETRY, NOMINAL, timing=len))
    )
    (current,), (without,) = of(plain, LayerCurrent), of(lossy, LayerCurrent)
    assert np.abs(current.untuned[:, 1]).min() > 0
    assert np.all(without.untuned[:, 1] == 0)
    np.testing.assert_array_equal(without.untuned[:, 0], current.untuned[:, 0])
    assert (of(lossy, Inference)[0].flagged > 0).all()


def test_two_gates_are_refused_without_gates_without_a_map_and_without_a_signal() -> None:
    second = SecondGate(v_gate=3.0, share=0.2)
    read = chip().readout.model_copy(update={"v_gate": 1.5, "second_gate": second})
    stage = chip(count=1, readout=read)
    with pytest.raises(BenchError, match="the die has no gates"):
        list(stage.run(nominal(Geometry(16, 3, 5)), History()))
    with pytest.raises(BenchError, match="no survey has read kernel 0 as inference will"):
        list(stage.run(nominal(), surveyed(nominal(), chip(count=1))))
    with pytest.raises(ValidationError, match="nominal conductances are of one gate"):
        ChipReadout(v_gate=1.6, second_gate=second, normalisation=Normalisation.NOMINAL)

    class Closing(NominalDie):
        """At 1.5 V its cells conduct a tenth."""

        def _sense(self, sense: Sense) -> Reading:
            reading = super()._sense(sense)
            reading.current[:] *= np.where(sense.bias.gate.max(axis=1, keepdims=True) == 1.5, 0.1, 1.0)
            return reading

    die = Closing(GEOMETRY, NOMINAL, timing=len)
    with pytest.raises(BenchError, match=r"layer 1 conduct -4e-05 S in P and -2e-05 S in AP"):
        list(stage.run(die, surveyed(die, stage)))


def test_of_a_vector_of_which_one_sign_has_no_value_nothing_counts() -> None:
    class Losing(NominalDie):
        """The second column has no value where the sum of the inputs is above 0 V, as often as it is read."""

        def _sense(self, sense: Sense) -> Reading:
            reading = super()._sense(sense)
            lost = (sense.cols == 1) & (sense.bias.row.sum(axis=1, keepdims=True) > 0)
            reading.current[lost], reading.flag[lost] = 0.0, Flag.INVALID
            return reading

    readout = chip().readout.model_copy(update={"both_ways": True})
    plain, lossy = (
        of(list(chip(count=1, readout=readout).run(die, History())), LayerCurrent)[0]
        for die in (nominal(), Losing(GEOMETRY, NOMINAL, timing=len))
    )
    assert np.abs(plain.untuned[:, 1]).min() > 0
    assert np.all(lossy.untuned[:, 1] == 0)
    np.testing.assert_array_equal(lossy.untuned[:, 0], plain.untuned[:, 0])


def test_the_first_test_samples_are_classified_and_no_others():
    few = {"tune_on": 20, "samples_kept": 4, "scales": 5}
    whole, part = (chip(readout=ChipReadout(**few, test_on=test_on)) for test_on in (None, 6))
    tables = [list(stage.run(nominal(), History())) for stage in (whole, part)]
    (every, *_), (first, *_) = (of(records, Prediction) for records in tables)
    assert every.untuned_test.shape == (11,)
    assert np.array_equal(first.untuned_test, every.untuned_test[:6])
    assert np.array_equal(first.untuned_train, every.untuned_train)
    (low, high), *_ = (record.interval_untuned_test for record in of(tables[1], Inference))
    (lower, higher), *_ = (record.interval_untuned_test for record in of(tables[0], Inference))
    assert high - low > higher - lower
