"""Files of another kind are called what they are; the keys by which they are told are those of the models."""

import pytest

from instruments.bench import Bench
from instruments.board_bench import BoardBench
from labctl.config.about import About
from labctl.config.wafer_file import WaferFile
from labctl.core.errors import BenchError
from labctl.files import read
from labctl.files.kinds import KINDS
from labctl.networks.train import Training
from labctl.station.registry import campaign_model
from sim_backend.description import DieDescription
from tests.e2e.conftest import EXAMPLES

MODELS = {
    "a campaign file": (campaign_model(),),
    "a bench file": (Bench, BoardBench),
    "a die file": (DieDescription,),
    "a wafer file": (WaferFile,),
    "a training file": (Training,),
    "a file about a run to publish": (About,),
}
FILES = {
    "a campaign file": "survey-wafer.yaml",
    "a bench file": "bench-two-arrays.yaml",
    "a die file": "dies/passive-15x15.yaml",
    "a wafer file": "wafers/wafer-12.yaml",
    "a training file": "train-wine-300.yaml",
}


def test_the_keys_that_tell_a_kind_are_those_of_its_models_and_of_no_other():
    fields = {name: {key for model in models for key in model.model_fields} for name, models in MODELS.items()}
    assert {kind.name for kind in KINDS} == set(MODELS)
    for kind in KINDS:
        assert kind.own | kind.shared == fields[kind.name]
        others = set().union(*(keys for name, keys in fields.items() if name != kind.name))
        assert not kind.own & others
        assert kind.shared <= others


@pytest.mark.parametrize("expected", MODELS)
@pytest.mark.parametrize("given", FILES)
def test_a_file_of_another_kind_is_called_what_it_is_in_one_line(given, expected):
    path, model = EXAMPLES / FILES[given], MODELS[expected][0]
    if given == expected:
        assert read(path, model).path == path
        return
    with pytest.raises(BenchError) as error:
        read(path, model)
    assert str(error.value).startswith(f"{path}:")
    assert f": found {given} (it has '" in str(error.value)
    assert str(error.value).endswith(f"expected {expected}")
    assert "\n" not in str(error.value)
