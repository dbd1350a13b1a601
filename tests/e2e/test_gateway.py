"""A campaign whose two sources and matrix are behind one Prologix controller, on the twin over that controller."""

import json

import numpy as np
import yaml

from labctl.storage.results import open_run
from sim_backend.description import DieDescription

GATEWAY = "TCPIP::192.0.2.30::1234::SOCKET"
BENCH = {
    "name": "two 2400s and a 7001 behind one controller",
    "instruments": {
        "smu1": {"driver": "keithley2400", "resource": "GPIB::24::INSTR", "gateway": GATEWAY},
        "smu2": {"driver": "keithley2400", "resource": "GPIB::25::INSTR", "gateway": GATEWAY},
        "matrix": {"driver": "keithley7001", "resource": "GPIB::7::INSTR", "gateway": GATEWAY},
    },
    "limits": {
        "v_towards_p": "1 V", "v_towards_ap": "1 V", "width": "100 ms", "compliance": "10 mA", "ramp_rate": "1000 V/s",
    },
    "twin": {"ideal_instruments": True},
}  # fmt: skip
DIE = {
    "name": "small", "geometry": {"kind": "passive", "kernels": 1, "n_rows": 1, "n_cols": 2},
    "junction": {"diameter": "80 nm"}, "simulation": {"ideal": True},
}  # fmt: skip
CAMPAIGN = {
    "name": "small", "seed": 3, "dies": [{"name": "D0", "file": "die.yaml"}],
    "limits": {
        "v_towards_p": "700 mV", "v_towards_ap": "700 mV", "width": "10 ms", "compliance": "10 mA",
        "v_count": "350 mV", "pulses_per_cell": 1000,
    },
    "stages": [{"survey": {"width": "10 ms"}}],
}  # fmt: skip


def test_a_survey_over_a_controller_measures_the_die(labctl, tmp_path):
    wiring = {
        "channels": {"smu1.out": "row1", "smu2.out": "row2"},
        "ground": "row4",
        "pads": {"r0": "1-01", "c0": "1-02", "c1": "1-03"},
        "kernels": [{"rows": ["r0"], "cols": ["c0", "c1"]}],
    }
    bench = {**BENCH, "wiring": wiring, "contact": {"structures": [["r0", "c1"]], "resistance": "50 kohm"}}
    for name, content in (("bench", bench), ("die", DIE), ("campaign", CAMPAIGN)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    bench_file = tmp_path / "bench.yaml"
    checked = json.loads(labctl("check", bench_file, "--sim", "tcp", "--json").stdout)
    assert [one["reached"] for one in checked["instruments"]] == [
        f"GPIB address {address} through the controller at {GATEWAY}" for address in (24, 25, 7)
    ]
    labctl("run", tmp_path / "campaign.yaml", "--bench", bench_file, "--sim", "tcp", "--out", tmp_path / "run")
    table = open_run(tmp_path / "run").table("survey", "D0")
    nominal = DieDescription.model_validate(DIE, context={"file": True}).nominal
    np.testing.assert_allclose(table["g_p"], np.full((1, 1, 2), nominal.g_p(0)), rtol=0.05)
    np.testing.assert_allclose(table["g_ap"], np.full((1, 1, 2), nominal.g_ap(0)), rtol=0.15)
