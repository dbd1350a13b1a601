"""Networks and samples as a stage gets them."""

import numpy as np
import pytest
from pydantic import ValidationError

from labctl.core.errors import BenchError
from labctl.core.units import FloatArray
from protocols.chip_inference import ChipInference
from protocols.preprocess import Preprocess
from protocols.samples import Dataset
from protocols.stage_inputs import Networks
from protocols.weights import Layer, Solution


def solution(index: int, inputs: int = 4, outputs: int = 3) -> Solution:
    devices = np.random.default_rng(index).random((inputs, 2 * outputs)) < 0.5
    return Solution(index, (Layer(devices, np.zeros(outputs)),))


def samples(x: FloatArray) -> Dataset:
    return Dataset(x, np.arange(len(x)) % 3, x[:2], np.arange(2), "mine.npz")


@pytest.mark.parametrize(
    ("solutions", "scale", "says"),
    [
        ((), None, "no solution"),
        ((solution(1), solution(1)), None, "same index"),
        ((solution(1), solution(2, inputs=5)), None, "one stage runs one network"),
        ((solution(1), solution(2)), np.ones((1, 2)), r"scale is \(1, 2\); expected positive numbers .* \(2, 1\)"),
        ((solution(1), solution(2)), np.zeros((2, 1)), "expected positive numbers"),
    ],
)
def test_networks_of_one_stage_are_of_one_shape(
    solutions: tuple[Solution, ...], scale: FloatArray | None, says: str
) -> None:
    with pytest.raises(BenchError, match=says):
        Networks(solutions, scale)


def test_a_die_gets_the_networks_that_are_for_it() -> None:
    all_dies = Networks(
        (solution(1), solution(2), solution(3)), np.array([[1.0], [2.0], [3.0]]), dies=("A", "B", "A"), name="three.npz"
    )
    own = all_dies.for_die("A")
    assert [s.index for s in own] == [1, 3]
    np.testing.assert_array_equal(own.trained_scale, [[1.0], [3.0]])
    with pytest.raises(BenchError, match=r"three\.npz has solutions for A, B, A; none for die C"):
        all_dies.for_die("C")
    stage = ChipInference(solutions=all_dies, data=samples(np.zeros((6, 4))))
    assert [s.index for s in stage.for_die("B").solutions] == [2]
    shared = ChipInference(solutions=Networks((solution(1),)), data=samples(np.zeros((6, 4))))
    assert shared.for_die("B") is shared


def test_samples_go_through_what_the_networks_were_trained_with() -> None:
    x = np.random.default_rng(2).normal(0, 3, (6, 4))
    trained = Networks((solution(1),), preprocess=Preprocess(scale=True))
    stage = ChipInference(solutions=trained, data=samples(x))
    np.testing.assert_array_equal(np.abs(stage.data.x_train).max(axis=0), np.ones(4))
    same = ChipInference(solutions=trained, preprocess=Preprocess(scale=True), data=samples(x))
    np.testing.assert_array_equal(same.data.x_test, stage.data.x_test)
    with pytest.raises(ValidationError, match=r"trained on samples with preprocess \{scale: true\}, found"):
        ChipInference(solutions=trained, preprocess=Preprocess(centre=True), data=samples(x))


def test_a_stage_scales_samples_for_networks_from_elsewhere() -> None:
    x = np.array([[1.0, -4.0, 0.0, 1 + 2e-16], [0.5, 2.0, 0.0, 1 + 2e-15], [0.1, 0.2, 0.0, 0.3]])
    with pytest.raises(ValidationError, match=r"data\n.*x_train of 'mine\.npz' reaches -4\.0, expected -1 to 1.*scale"):
        ChipInference(solutions=Networks((solution(1),)), data=samples(x))
    stage = ChipInference(
        solutions=Networks((solution(1),)), preprocess=Preprocess.model_validate("scale"), data=samples(x)
    )
    assert stage.data.x_train[:, :3].tolist() == [[1.0, -1.0, 0.0], [0.5, 0.5, 0.0], [0.1, 0.05, 0.0]]
    assert stage.data.x_train[:, 3].max() == 1.0
