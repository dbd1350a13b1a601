"""The disk that a plan predicts is the disk that the run takes."""

import json

import pytest


def size(folder):
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and "plots" not in path.parts)


def predicted(labctl, campaign, *more):
    return json.loads(labctl("plan", campaign, "--json", *more).stdout)["total"]["bytes"]


def test_a_small_run_takes_what_was_predicted(finished, campaign, labctl):
    folder, _ = finished
    assert 0.7 < predicted(labctl, campaign) / size(folder) < 1.3


@pytest.mark.slow
def test_the_shipped_campaign_takes_what_was_predicted(labctl, tmp_path):
    from tests.e2e.conftest import EXAMPLES

    campaign = EXAMPLES / "wine-passive.yaml"
    labctl("run", campaign, "--out", tmp_path / "run")
    assert 0.7 < predicted(labctl, campaign) / size(tmp_path / "run") < 1.3


@pytest.mark.slow
def test_a_chip_takes_what_was_predicted(labctl, tmp_path):
    from tests.e2e.conftest import EXAMPLES

    one = EXAMPLES / "overnight-36-dies.yaml", "--set", "wafer.only=[W01-x3y3]"
    labctl("run", *one, "--out", tmp_path / "run")
    assert 0.7 < predicted(labctl, *one) / size(tmp_path / "run") < 1.3
