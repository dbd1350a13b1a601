"""A die whose two crossbars differ in size, from its file to the figures, by hand and in a campaign."""

import json
from pathlib import Path

import numpy as np
import pytest

from labctl.storage.results import open_run

EXAMPLES = Path(__file__).parents[2] / "examples"
DIE = """name: two-sizes
geometry: {kernels: 2, n_rows: 15, n_cols: 15}
junction: {kernel_diameters: [60 nm, 100 nm], ra: 8 ohm um^2, tmr: 120 %}
"""
CAMPAIGN = """name: two-sizes
dies:
  - {name: T1, file: die.yaml}
limits: {v_towards_p: 700 mV, v_towards_ap: 700 mV, width: 10 ms, compliance: 20 mA, v_count: 350 mV,
         pulses_per_cell: 100000}
stages:
SURVEY  - network:
      solutions: SOLUTIONS
      data: wine
      placement: [{kernel: 0, row: 0, col: 0}, {kernel: 1, row: 0, col: 0}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("two-sizes")
    (path / "die.yaml").write_text(DIE)
    return path


def test_a_pulse_by_hand_is_judged_by_the_size_of_its_cell(labctl, folder):
    text = (EXAMPLES / "bench-two-arrays.yaml").read_text()
    assert "  # line_resistance: 25 ohm" in text
    (folder / "bench.yaml").write_text(text.replace("  # line_resistance: 25 ohm", "  line_resistance: 0 ohm"))
    bench = ("--bench", folder / "bench.yaml", "--sim", "bytes", "--die", folder / "die.yaml")
    for kernel, g_p in ((0, 353e-6), (1, 982e-6)):
        pulse = ("--cell", f"{kernel},1,1", "--to", "P", "--voltage", "450 mV", "--width", "1 ms")
        done = labctl("pulse", *bench, *pulse, "--out", folder / f"pulse{kernel}", "--json")
        (record,) = json.loads(done.stdout)["rows"]
        assert (record["state"], record["verified"], record["flag"]) == ("p", True, 0)
        assert record["conductance"] == pytest.approx(g_p, rel=0.15)


@pytest.mark.slow
def test_a_network_without_a_survey_is_written_as_well_as_with_one(labctl, folder, few_solutions):
    fidelity = {}
    for name, stage in (("surveyed", "  - survey: {}\n"), ("bare", "")):
        path = folder / f"{name}.yaml"
        path.write_text(CAMPAIGN.replace("SOLUTIONS", str(few_solutions)).replace("SURVEY", stage))
        done = labctl("run", path, "--out", folder / name, "--json")
        answer = json.loads(done.stdout)
        assert [w["key"] for w in answer["warnings"]] == ["accept"]
        assert f"warning: {path}" in done.stderr
        assert "a die that can be measured will be called 'measured'" in done.stderr
        (die,) = answer["dies"]
        assert die["bin"] == "measured"  # the campaign sets no limit by which it could be good
        assert "1 die measured; no acceptance limits were set." in done.stderr
        assert (
            "<h1>The die is measured; no acceptance limits were set.</h1>"
            in (folder / name / "report.html").read_text()
        )
        fidelity[name] = open_run(folder / name).die("T1").table("write")["fidelity"]
    np.testing.assert_array_equal(fidelity["bare"], fidelity["surveyed"])
    assert fidelity["bare"].min() > 0.99


def test_one_diameter_beside_one_per_kernel_is_refused(labctl, folder, few_solutions):
    for name, junction, message in (
        (
            "both",
            "{diameter: 80 nm, kernel_diameters: [60 nm, 100 nm]}",
            "found both 'diameter' and 'kernel_diameters'",
        ),
        ("none", "{ra: 8 ohm um^2}", "the key 'diameter' is missing"),
        ("three", "{kernel_diameters: [60 nm, 80 nm, 100 nm]}", "3 kernel_diameters for 2 kernels"),
    ):
        (folder / "wrong.yaml").write_text(DIE.replace(DIE.splitlines()[2], f"junction: {junction}"))
        path = folder / f"{name}.yaml"
        text = CAMPAIGN.replace("die.yaml", "wrong.yaml").replace("SOLUTIONS", str(few_solutions))
        path.write_text(text.replace("SURVEY", "  - survey: {}\n"))
        done = labctl("plan", path, expect=2)
        assert message in done.stderr
        assert "wrong.yaml" in done.stderr
