"""On an ideal die every published solution gives the float network's prediction on every sample, in both modes."""

import os
from pathlib import Path

import numpy as np
import pytest

from labctl.core.record import History
from labctl.files import load
from labctl.networks import datasets, solutions
from labctl.networks.inputs import as_networks
from protocols.network import Network
from protocols.readout import InferenceSettings, Mode
from protocols.records import Inference, Prediction, Write
from protocols.stage_inputs import Networks
from protocols.survey import Survey
from protocols.weights import Placement, float_predictions
from sim_backend.description import DieDescription
from sim_backend.die import SimDie

EXAMPLES = Path(__file__).parents[2] / "examples"
PUBLISHED = Path(os.environ.get("LABCTL_DATA", "")) / "wine" / "wine_13-6-3_solutions_000-099.npz"
pytestmark = pytest.mark.skipif(not PUBLISHED.is_file(), reason="LABCTL_DATA does not hold the published solutions")


@pytest.mark.parametrize(
    ("mode", "surveyed"),
    [(Mode.SUPERPOSITION, False), pytest.param(Mode.PARALLEL, True, marks=pytest.mark.slow)],
)
def test_every_prediction_is_the_float_networks(mode, surveyed):
    die = SimDie(load(EXAMPLES / "dies/ideal-15x15.yaml", DieDescription), seed=1, name="ideal")
    data, found = datasets.load("wine"), as_networks(solutions.load(PUBLISHED))
    assert len(found) == 100
    network = Network(
        placement=(Placement(kernel=0), Placement(kernel=1)),
        inference=InferenceSettings(mode=mode),
        solutions=Networks(found),
        data=data,
    )
    history = History()
    for procedure in (Survey(), network) if surveyed else (network,):
        for record in procedure.run(die, history):
            history.add(record)
    assert all(w.fidelity == 1 for w in history.all(Write))
    scales = {i.solution: i.scale for i in history.all(Inference)}
    predictions = history.all(Prediction)
    assert len(predictions) == 100
    for solution, prediction in zip(found, predictions, strict=True):
        for x, part in ((data.x_train, "train"), (data.x_test, "test")):
            for tuning, scale in (("untuned", np.ones(2)), ("tuned", scales[solution.index])):
                expected = float_predictions(solution, x, scale)
                np.testing.assert_array_equal(getattr(prediction, f"{tuning}_{part}"), expected)
