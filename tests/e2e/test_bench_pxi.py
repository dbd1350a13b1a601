"""A bench of makers' libraries: an M9615A and NI switch modules, as examples/bench-m9615a-niswitch.yaml has them."""

import numpy as np
import pytest
import yaml

from labctl.storage.results import open_run
from tests.e2e.conftest import ROOT

EXAMPLE = yaml.safe_load((ROOT / "examples" / "bench-m9615a-niswitch.yaml").read_text(encoding="utf-8"))
ROWS, COLUMNS = ["a0", "a1"], ["b0", "b1", "b2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the example cut down to 2 x 3 cells on two modules, a die and a campaign."""
    folder = tmp_path_factory.mktemp("pxi")
    bench = {**EXAMPLE, "twin": {"ideal_instruments": True}}
    bench["instruments"] = {name: keys for name, keys in EXAMPLE["instruments"].items() if name != "middle"}
    wiring = EXAMPLE["wiring"]
    bench["wiring"] = {
        "channels": {c: [end for end in ends if "middle" not in end] for c, ends in wiring["channels"].items()},
        "ground": ["left.r3", "right.r3"],
        "pads": {**{a: f"left.c{k}" for k, a in enumerate(ROWS)}, **{b: f"right.c{k}" for k, b in enumerate(COLUMNS)}},
        "kernels": [{"rows": ROWS, "cols": COLUMNS}],
    }
    bench["contact"] = {"structures": [["a0", "b2"]], "resistance": "50 kohm"}
    die = yaml.safe_load((ROOT / "examples" / "dies" / "ideal-15x15.yaml").read_text(encoding="utf-8"))
    die["geometry"] = {"n_rows": 2, "n_cols": 3}
    limits = {
        "v_towards_p": "700 mV", "v_towards_ap": "700 mV", "width": "10 ms", "compliance": "10 mA", "v_count": "350 mV",
        "pulses_per_cell": 1000,
    }  # fmt: skip
    campaign = {
        "name": "small", "dies": [{"name": "d", "file": "die.yaml"}], "limits": limits,
        "stages": [{"survey": {"width": "10 ms"}}],
    }  # fmt: skip
    for name, content in (("bench", bench), ("die", die), ("campaign", campaign)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


def test_a_survey_ends_where_that_of_the_simulated_die_ends(labctl, folder):
    bench = ("--bench", folder / "bench.yaml", "--sim", "bytes")
    done = labctl("run", folder / "campaign.yaml", *bench, "--out", folder / "bench")
    assert "0 hot switches" in done.stderr
    assert "0 source fights" in done.stderr
    labctl("run", folder / "campaign.yaml", "--out", folder / "simulated")
    there, here = (open_run(folder / name).die("d").table("survey") for name in ("bench", "simulated"))
    assert np.asarray(there["good"]).all()
    for name in ("g_p", "g_ap"):
        np.testing.assert_allclose(there[name], here[name], rtol=0.05)


def test_off_and_check_work_on_the_twin_and_sockets_are_refused(labctl, folder):
    done = labctl("off", folder / "bench.yaml", "--sim", "bytes")
    assert "left, right: relays verified open; smu: outputs verified off at 0 V" in done.stderr
    done = labctl("check", folder / "bench.yaml", "--sim", "tcp", expect=2)
    assert "left, right, smu" in done.stderr.replace("\n", " ")


def test_the_shipped_bench_is_planned_with(labctl, folder):
    die = yaml.safe_load((folder / "die.yaml").read_text(encoding="utf-8")) | {"geometry": {"n_rows": 15, "n_cols": 15}}
    (folder / "whole-die.yaml").write_text(yaml.safe_dump(die), encoding="utf-8")
    campaign = yaml.safe_load((folder / "campaign.yaml").read_text(encoding="utf-8"))
    campaign["dies"][0]["file"] = "whole-die.yaml"
    (folder / "whole.yaml").write_text(yaml.safe_dump(campaign), encoding="utf-8")
    bench = ROOT / "examples" / "bench-m9615a-niswitch.yaml"
    done = labctl("plan", folder / "whole.yaml", "--bench", bench)
    assert "bench '15 x 15 array in a PXIe chassis'" in done.stdout


def test_without_the_libraries_the_bench_is_not_verified(labctl, folder):
    done = labctl("off", folder / "bench.yaml", expect=6)
    text = " ".join((done.stdout + done.stderr).split())
    assert "KtM960x_64.dll' cannot be loaded" in text
    labctl("off", "--release", folder / "bench.yaml")
