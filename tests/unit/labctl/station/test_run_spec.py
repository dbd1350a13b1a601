"""A run with every file read: its JSON names files by digest, and is the same when compiled again from the copies."""

import json
from pathlib import Path

import numpy as np
import pytest

from labctl import files
from labctl.core.errors import BenchError
from labctl.networks.datasets import load as load_dataset
from labctl.networks.solutions import load, save
from labctl.station import composition, run_folder
from labctl.station.run_spec import differences
from labctl.storage.manifest import FORMAT, run_meta

EXAMPLES = Path(__file__).parents[4] / "examples"


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """A campaign of two dies with weights and data of the user's own."""
    lab = tmp_path / "lab"
    lab.mkdir()
    save(lab / "few.npz", load(EXAMPLES / "wine-solutions.npz").take(np.arange(2)))
    wine = load_dataset("wine")
    arrays = {"x_train": wine.x_train[:9], "y_train": wine.y_train[:9], "x_test": wine.x_test, "y_test": wine.y_test}
    np.savez(lab / "own.npz", **arrays)
    text = (EXAMPLES / "wine-passive.yaml").read_text(encoding="utf-8")
    dies = ("dies/", f"{EXAMPLES}/dies/")
    for old, new in (("wine-solutions.npz", "few.npz"), ("data: wine", "data: own.npz"), dies):
        text = text.replace(old, new)
    (lab / "own.yaml").write_text(text, encoding="utf-8")
    return lab / "own.yaml"


def test_every_file_is_kept_and_the_same_run_comes_of_the_copies(campaign: Path, tmp_path: Path) -> None:
    spec = composition.read(campaign, {"dies.1.change": "{junction: {diameter: 66 nm}}"}, seed=5)
    assert [path.name for path in spec.files] == ["own.yaml", "passive-15x15.yaml", "few.npz", "own.npz"]
    meta = run_folder.make_folder(tmp_path / "run", spec, ["labctl", "run"])
    assert run_meta(tmp_path / "run") == json.loads(json.dumps(meta))
    assert (meta["format"], meta["kind"], meta["seed"], meta["roles"]) == (
        FORMAT, "campaign", 5, {"campaign": "00-own.yaml"},
    )  # fmt: skip
    for name, file in meta["files"].items():
        content = (tmp_path / "run" / "files" / name).read_bytes()
        assert content == Path(file["path"]).read_bytes()
        assert files.digest(content) == file["sha256"]
    own, few = meta["files"]["03-own.npz"], meta["files"]["02-few.npz"]
    assert meta["stages"][1]["inputs"] == {"solutions": [few["sha256"]], "data": [own["sha256"]]}
    copies = {Path(file["path"]): tmp_path / "run" / "files" / name for name, file in meta["files"].items()}
    for path in campaign.parent.iterdir():
        path.unlink()
    door = files.Door(Path(meta["cwd"]), copies)
    again = composition.read(campaign, meta["set"], None, None, None, door)
    assert again.to_json() == spec.to_json()
    assert again.files == spec.files
    (tmp_path / "run" / "files" / "03-own.npz").unlink()
    with pytest.raises(BenchError, match=r"own\.npz"):
        composition.read(campaign, meta["set"], None, None, None, files.Door(Path(meta["cwd"]), copies))


def test_a_data_set_that_is_installed_is_named_with_its_digest(campaign: Path) -> None:
    spec = composition.read(campaign, {"data": "wine"})
    (sha256,) = spec.shipped.values()
    assert list(spec.shipped) == ["labctl/data/wine.csv"]
    assert spec.to_json()["stages"][1]["inputs"]["data"] == [sha256]
    assert [path.name for path in spec.files] == ["own.yaml", "passive-15x15.yaml", "few.npz"]


def test_differences_are_named_by_key(campaign: Path) -> None:
    spec, other = composition.read(campaign), composition.read(campaign, {"limits.width": "9 ms", "dies.0.name": "D7"})
    assert list(differences(spec.to_json(), spec.to_json())) == []
    assert list(differences(spec.to_json(), other.to_json())) == [
        'dies.0.name is "D7", it was "D55"',
        "limits.width is 0.009, it was 0.01",
    ]


def test_a_survey_needs_no_network(tmp_path: Path) -> None:
    spec = composition.read(EXAMPLES / "survey-wafer.yaml")
    assert [p.name for p in spec.stages] == ["survey"]
    assert (dict(spec.shipped), spec.inputs) == ({}, ({},))
    with pytest.raises(BenchError, match=r"--set data=wine: no stage of .* asks for 'data'"):
        composition.read(EXAMPLES / "survey-wafer.yaml", {"data": "wine"})
