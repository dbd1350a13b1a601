"""The example of an ArC TWO board: its page's commands, and the Wine campaign on it and on the simulated die."""

import json
import re
import shlex

import numpy as np
import pytest
import yaml

from labctl.networks import solutions
from labctl.storage.results import open_run
from tests.e2e.conftest import EXAMPLES, ROOT
from tests.e2e.one_array import CHANGE, COLS, PLACEMENT, ROWS

BENCH, CAMPAIGN = EXAMPLES / "bench-arc-two.yaml", EXAMPLES / "wine-passive.yaml"
PAGE = (ROOT / "docs" / "arc-two.md").read_text(encoding="utf-8")
(COMMANDS,) = re.findall(r"```text\n(.*?)```", PAGE, flags=re.S)


def campaign(folder, die, networks):
    """Write the campaign with one such die and the first solutions, and return its path."""
    few = folder / f"{die.partition('.')[0]}.npz"
    solutions.save(few, solutions.load(EXAMPLES / "wine-solutions.npz").take(np.arange(networks)))
    file = yaml.safe_load(CAMPAIGN.read_text(encoding="utf-8"))
    file["dies"] = [{"name": "D80", "file": str(EXAMPLES / "dies" / die)}]
    file["stages"][1]["network"]["solutions"] = str(few)
    path = folder / "campaign.yaml"
    path.write_text(yaml.safe_dump(file, sort_keys=False), encoding="utf-8")
    return path


def on_one_array(folder, path):
    """Write a campaign for one array of 13 x 12 cells, and a bench whose fake converts without error, for it."""
    file = yaml.safe_load(path.read_text(encoding="utf-8"))
    file["dies"][0]["change"] = CHANGE
    file["stages"][1]["network"]["placement"] = PLACEMENT
    path.write_text(yaml.safe_dump(file, sort_keys=False), encoding="utf-8")
    file = yaml.safe_load(BENCH.read_text(encoding="utf-8"))
    wired = file["body"]["kernels"][0]
    file["body"]["kernels"] = [{"rows": wired["rows"][:ROWS], "cols": wired["cols"][:COLS]}]
    bench = folder / "bench.yaml"
    bench.write_text(yaml.safe_dump({**file, "twin": {"ideal_instruments": True}}), encoding="utf-8")
    return path, bench


def test_the_commands_of_the_page_do_what_it_says(labctl):
    check, plan, run, off = (shlex.split(line)[1:] for line in COMMANDS.splitlines())
    text = " ".join(labctl(*check, cwd=ROOT).stdout.split())
    assert "a board of 2 kernels of 15 x 15; nothing is wired" in text
    assert "not taken: what its channels do is not known; taking it loads its firmware" in text
    assert "board: outputs verified off at 0 V" in labctl(*off, cwd=ROOT).stderr
    assert [word for word in run if word not in plan] == ["run", "--sim", "bytes"]
    relays = [str(EXAMPLES / "bench-two-arrays.yaml") if word.endswith("arc-two.yaml") else word for word in plan]
    for words, key, pulses in ((plan, "22.1 s", 2998), (relays, "13 min 20 s", 5441)):
        total = json.loads(labctl(*words, "--json", cwd=ROOT).stdout)["total"]
        assert (total["reads"], total["pulses"]) == (2634, pulses)
        assert key in labctl(*words, cwd=ROOT).stdout
        assert key in PAGE
    assert "2,634 reads and at most 2,998 pulses on the board" in PAGE


@pytest.mark.slow
def test_on_an_ideal_die_the_campaign_ends_as_on_the_simulated_one(labctl, tmp_path):
    path, bench = on_one_array(tmp_path, campaign(tmp_path, "ideal-15x15.yaml", 1))
    ways = {"simulated": (), "board": ("--bench", bench, "--sim", "bytes")}
    for name, way in ways.items():
        labctl("run", path, *way, "--out", tmp_path / name)
    one, other = (open_run(tmp_path / name).die("D80") for name in ways)
    columns = {
        "readback": ("solution", "kernel", "row", "col", "target", "state", "flag"),
        "attempt": ("kernel", "row", "col", "voltage", "target", "verified"),
        "prediction": ("untuned_train", "untuned_test", "tuned_train", "tuned_test"),
        "survey": ("defect", "good"),
    }
    for table, names in columns.items():
        for name in names:
            assert np.array_equal(one.table(table)[name], other.table(table)[name]), (table, name)
    a, b = (die.table("readback")["conductance"] for die in (one, other))
    assert np.abs(b / a - 1).max() < 0.3 / 128, "more than a step of the DACs at 100 mV"
    assert len(a) > 150


@pytest.mark.slow
def test_on_a_die_with_chance_fidelity_and_accuracy_are_those_of_the_simulated_one(labctl, tmp_path):
    path = campaign(tmp_path, "passive-15x15.yaml", 4)
    done = labctl("run", path, "--bench", BENCH, "--sim", "bytes", "--out", tmp_path / "board")
    labctl("run", path, "--out", tmp_path / "simulated")
    board, simulated = (open_run(tmp_path / name) for name in ("board", "simulated"))
    assert (board.table("write").to_pandas()["fidelity"] > 0.99).all()
    accuracy, expected = (run.table("inference").to_pandas()["accuracy_tuned_test"] for run in (board, simulated))
    assert len(accuracy) == 4
    assert abs(accuracy.mean() - expected.mean()) < 0.02
    peak = float(re.search(r"peak cell voltage ([\d.]+) mV", done.stderr)[1])
    assert 400 < peak <= 700
    assert "0 source fights" in done.stderr


def test_whole_input_vectors_are_applied_at_once_which_a_relay_bench_has_no_channels_for(labctl, tmp_path):
    path = campaign(tmp_path, "ideal-15x15.yaml", 1)
    parallel = ("--set", "stages.1.network.inference.mode=parallel")
    labctl("plan", path, "--bench", EXAMPLES / "bench-two-arrays.yaml", *parallel, expect=2)
    plan = json.loads(labctl("plan", path, "--bench", BENCH, *parallel, "--json").stdout)
    assert 10 < plan["total"]["time"] < 60


def test_a_die_of_another_shape_and_a_socket_are_refused(labctl, tmp_path):
    path = campaign(tmp_path, "chip-32x25x25.yaml", 1)
    done = labctl("plan", path, "--bench", BENCH, expect=2)
    assert "the board drives 2 kernels of 15 x 15, passive; the die has 32 of 25 x 25, 1T1R" in done.stderr
    path = campaign(tmp_path, "ideal-15x15.yaml", 1)
    on_socket = ("--bench", BENCH, "--sim", "tcp")
    for words in (("check", BENCH, "--sim", "tcp"), ("plan", path, *on_socket), ("run", path, *on_socket)):
        done = labctl(*words, *(("--out", tmp_path / "refused") if "run" in words else ()), expect=2)
        assert "board: no emulator that can be on a socket; use --sim bytes" in done.stderr
    assert not (tmp_path / "refused").exists()


def test_a_cell_is_read_and_pulsed_by_hand(labctl, tmp_path):
    die = EXAMPLES / "dies" / "passive-15x15.yaml"
    here = ("--bench", BENCH, "--sim", "bytes", "--die", die, "--cell", "1,3,4")
    assert "reads" in labctl("read", *here, "--out", tmp_path / "read").stdout
    words = ("--to", "AP", "--voltage", "600 mV", "--out", tmp_path / "pulse")
    assert "reads AP" in labctl("pulse", *here, *words).stdout
    far = ("--to", "AP", "--voltage", "1.2 V", "--out", tmp_path / "far")
    labctl("pulse", *here, *far, expect=2)
