"""Campaigns on benches of unusual shape: planned, run on the twin, and refused where the bench cannot do them."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from labctl.storage.results import open_run

EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDLES = yaml.safe_load((EXAMPLES / "bench-two-needles.yaml").read_text())
FIVE = {
    "smu": {
        "driver": "generic_source", "resource": "TCPIP::192.0.2.15::5025::SOCKET", "model": "five",
        "channels": ["ch1", "ch2", "ch3", "ch4", "ch5"], "ranges_v": ["2 V"],
        "ranges_i": ["1 uA", "10 uA", "100 uA", "1 mA", "10 mA"], "shortest_pulse": "100 us",
        "shortest_aperture": "20 us", "longest_aperture": "100 ms", "stands": False,
    }
}  # fmt: skip
SWITCH = {
    "smu": {"driver": "keithley2600b", "resource": "TCPIP::192.0.2.11::5025::SOCKET"},
    "switch": {"driver": "generic_matrix", "resource": "TCPIP::192.0.2.16::5025::SOCKET"},
}


def bench(instruments, wiring, structures):
    return {
        **NEEDLES, "instruments": instruments, "wiring": wiring, "outputs": {},
        "contact": {"structures": structures}, "twin": {"ideal_instruments": True},
    }  # fmt: skip


ONE_CELL = bench(NEEDLES["instruments"], NEEDLES["wiring"], [["top", "bottom"]])
ROW = [f"c{j}" for j in range(4)]
BENCHES = {
    "one cell on two needles": ((1, 1), ONE_CELL),
    "1 x 4 on five wired channels of one source": (
        (1, 4),
        bench(
            FIVE,
            {
                "pads": {"row": "smu.ch1", **{pad: f"smu.ch{j + 2}" for j, pad in enumerate(ROW)}},
                "kernels": [{"rows": ["row"], "cols": ROW}],
            },
            [["row", "c3"]],
        ),
    ),
    "2 x 3 on a matrix with words of its own": (
        (2, 3),
        bench(
            SWITCH,
            {
                "channels": {"smu.smua": "in 1", "smu.smub": "in 2"},
                "ground": "guard",
                "pads": {pad: f"out {k}" for k, pad in enumerate(("r0", "r1", "c0", "c1", "c2"))},
                "kernels": [{"rows": ["r0", "r1"], "cols": ["c0", "c1", "c2"]}],
            },
            [["r1", "c2"]],
        ),
    ),
}


def write(folder, shape, bench, dies=1):
    die = {
        "name": "small", "geometry": {"kind": "passive", "kernels": 1, "n_rows": shape[0], "n_cols": shape[1]},
        "junction": {"diameter": "80 nm"}, "simulation": {"ideal": True},
    }  # fmt: skip
    limits = {
        "v_towards_p": "700 mV", "v_towards_ap": "700 mV", "width": "10 ms", "compliance": "10 mA",
        "v_count": "350 mV", "pulses_per_cell": 1000,
    }  # fmt: skip
    (folder / "die.yaml").write_text(yaml.safe_dump(die))
    (folder / "bench.yaml").write_text(yaml.safe_dump(bench, sort_keys=False))
    sites = {"dies": [{"name": f"d{k}", "file": "die.yaml"} for k in range(dies)]}
    campaign = {"name": "small", "seed": 3, **sites, "limits": limits, "stages": [{"survey": {}}]}
    (folder / "campaign.yaml").write_text(yaml.safe_dump(campaign, sort_keys=False))
    return folder / "campaign.yaml", "--bench", folder / "bench.yaml"


@pytest.mark.parametrize(("shape", "bench"), BENCHES.values(), ids=BENCHES.keys())
def test_a_survey_finds_every_cell_good(labctl, tmp_path, shape, bench):
    files = write(tmp_path, shape, bench)
    labctl("plan", *files)
    labctl("run", *files, "--sim", "bytes", "--out", tmp_path / "run")
    (name,) = open_run(tmp_path / "run").dies
    die = open_run(tmp_path / "run").die(name)
    survey = die.table("survey")
    np.testing.assert_allclose(survey["g_p"][0] / survey["g_ap"][0], np.full(shape, 2.2), rtol=0.15)
    assert survey["good"][0] == shape[0] * shape[1]
    approached = next(event for event in die.events() if event.kind == "approached")
    assert [0 < ohm < 50e3 for ohm in approached.body["contact_resistance"].values()] == [True]


def test_several_dies_without_a_prober_are_refused_in_plan(labctl, tmp_path):
    files = write(tmp_path, (1, 1), ONE_CELL, dies=2)
    done = labctl("plan", *files, expect=2)
    assert "2 dies, and the bench 'two needles' has no prober to go from one to the next" in " ".join(
        done.stderr.split()
    )


def test_no_contact_is_the_end_of_a_die_without_a_prober_too(labctl, tmp_path):
    files = write(tmp_path, (1, 1), ONE_CELL)
    die = yaml.safe_load((tmp_path / "die.yaml").read_text())
    die["simulation"] = {"defects": {"open": 1.0}}
    (tmp_path / "die.yaml").write_text(yaml.safe_dump(die))
    done = labctl("run", *files, "--sim", "bytes", "--out", tmp_path / "run", expect=1)
    assert "no contact: top-bottom open" in " ".join((done.stdout + done.stderr).split())
