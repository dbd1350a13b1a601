"""The disk that a plan predicts is the disk that the run takes."""

import json
import re

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
def test_a_die_of_the_shipped_campaign_takes_what_was_predicted(labctl, tmp_path):
    from tests.e2e.conftest import EXAMPLES

    one = tmp_path / "one.yaml"
    text = (EXAMPLES / "wine-passive.yaml").read_text(encoding="utf-8")
    text = re.sub(r"  - \{name: D(55|65|100), .*\n", "", text)
    for name in ("dies/passive-15x15.yaml", "wine-solutions.npz"):
        text = text.replace(name, str(EXAMPLES / name))
    one.write_text(text, encoding="utf-8")
    labctl("run", one, "--out", tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "dies").glob("*.h5")] == ["D80.h5"]
    assert 0.7 < predicted(labctl, one) / size(tmp_path / "run") < 1.3


@pytest.mark.slow
def test_a_chip_takes_what_was_predicted(labctl, tmp_path):
    from tests.e2e.conftest import EXAMPLES

    one = EXAMPLES / "overnight-36-dies.yaml", "--set", "wafer.only=[W01-x3y3]"
    labctl("run", *one, "--out", tmp_path / "run")
    assert 0.7 < predicted(labctl, *one) / size(tmp_path / "run") < 1.3
