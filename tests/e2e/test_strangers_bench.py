"""A source, a matrix and a prober of another distribution: their contracts, and a campaign on the twin."""

import json
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from tests.e2e.test_strangers import said

pytest.importorskip("pymeasure", reason="pymeasure is not installed (extra judges)")
HERE = Path(__file__).parent / "strangers"
MODULES = ("lab_smu", "lab_matrix", "lab_prober")
PADS = [*(f"r{k}" for k in range(4)), *(f"c{k}" for k in range(3))]
DIE = {
    "name": "small",
    "geometry": {"kernels": 1, "n_rows": 4, "n_cols": 3},
    "junction": {"diameter": "80 nm"},
    "simulation": {"ideal": True},
}
LIMITS = {"v_towards_p": "0.7 V", "v_towards_ap": "0.7 V", "width": "20 ms", "compliance": "10 mA"}
BENCH = {
    "name": "strangers",
    "instruments": {
        "smu": {"driver": "lab_smu", "resource": "TCPIP::192.0.2.1::5025::SOCKET"},
        "matrix": {"driver": "lab_matrix", "resource": "TCPIP::192.0.2.2::5025::SOCKET"},
        "prober": {"driver": "lab_prober", "resource": "TCPIP::192.0.2.3::35555::SOCKET"},
    },
    "wiring": {
        "channels": {"smu.smua": "A", "smu.smub": "B"},
        "ground": "H",
        "pads": {pad: f"1-{k + 1:02d}" for k, pad in enumerate(PADS)},
        "kernels": [{"rows": PADS[:4], "cols": PADS[4:]}],
    },
    "limits": {**LIMITS, "ramp_rate": "1000 V/s"},
    "contact": {"structures": [["r0", "c0"]]},
    "twin": {"ideal_instruments": True},
}
CAMPAIGN = {
    "name": "strangers",
    "dies": [{"name": "A", "file": "die.yaml", "at": [0, 0]}, {"name": "B", "file": "die.yaml", "at": [1, 0]}],
    "limits": {**LIMITS, "v_count": "0.35 V", "pulses_per_cell": 100},
    "stages": [{"survey": {"width": "6 ms"}}],
}


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Install one distribution with three drivers, and write a bench and a campaign."""
    site = tmp_path / "site"
    info = site / "lab_bench-2.1.dist-info"
    info.mkdir(parents=True)
    for module in MODULES:
        (site / f"{module}.py").write_text((HERE / f"{module}.py").read_text(encoding="utf-8"), encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-bench\nVersion: 2.1\n")
    entries = "".join(f"{module} = {module}:DRIVER\n" for module in MODULES)
    (info / "entry_points.txt").write_text(f"[labctl.instruments]\n{entries}")
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=":")
    for name, content in (("die", DIE), ("bench", BENCH), ("campaign", CAMPAIGN)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


@pytest.mark.parametrize("call", ["'lab_smu'", "'lab_matrix', absent='1A13'", "'lab_prober'"])
def test_each_keeps_the_contract_of_its_kind(lab, call):
    program = f"from labctl.testing import check_driver\ncheck_driver({call})\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def survey(file, name):
    """Return an array of the survey's table."""
    tables = {}
    file.visititems(lambda path, item: tables.update({path: item}))
    (item,) = [item for path, item in tables.items() if path.endswith(f"survey/{name}")]
    return np.asarray(item)


@pytest.mark.parametrize("sim", ["bytes", pytest.param("tcp", marks=pytest.mark.slow)])
def test_a_campaign_of_two_dies_runs_on_the_twin_of_their_bench(labctl_process, lab, sim):
    planned = labctl_process("plan", "campaign.yaml", "--bench", "bench.yaml", "--sim", sim, cwd=lab)
    assert "generic" not in said(planned)
    done = labctl_process("run", "campaign.yaml", "--bench", "bench.yaml", "--sim", sim, "--out", "out", cwd=lab)
    audit = re.search(r"(\d+) hot switches, (\d+) moves in contact", said(done))
    assert audit is not None
    assert audit.groups() == ("0", "0")
    for die in "AB":
        with h5py.File(lab / "out" / "dies" / f"{die}.h5") as file:
            g_p, g_ap = (survey(file, name) for name in ("g_p", "g_ap"))
            np.testing.assert_allclose(g_p / g_ap, 2.2, rtol=0.05)
    listed = labctl_process("doctor", "--json", cwd=lab)
    (drivers,) = [line["text"] for line in json.loads(listed.stdout) if line["check"] == "labctl.instruments"]
    assert "lab_matrix, lab_prober, lab_smu (lab-bench 2.1)" in drivers


def test_what_the_source_cannot_do_is_refused_when_it_is_planned(labctl_process, lab):
    arguments = ("plan", "campaign.yaml", "--bench", "bench.yaml", "--set", "stages.0.survey.width=1 ms")
    done = labctl_process(*arguments, cwd=lab, expect=2)
    assert "makes none shorter than 0.005 s" in said(done)
    bench = {**BENCH, "instruments": {**BENCH["instruments"], "smu": {**BENCH["instruments"]["smu"], "model": "2400"}}}
    (lab / "bench.yaml").write_text(yaml.safe_dump(bench))
    done = labctl_process("plan", "campaign.yaml", "--bench", "bench.yaml", cwd=lab, expect=2)
    assert "instruments.smu.model: found '2400', expected '2602B' or '2604B'" in said(done)
