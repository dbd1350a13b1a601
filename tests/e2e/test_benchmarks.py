"""Every benchmark ends with figures in the size of the tests; what the figures are is for who reads them."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = {
    "bench.py": ["--small", "--json"],
    "board.py": ["--small", "--json"],
    "board_night.py": ["--small", "--json"],
    "chip.py": ["--small", "--json", "--campaign", "--only", "W01-x3y3"],
    "damage.py": ["--small"],
    "fleet.py": ["--small", "--json"],
    "crossbar.py": ["--small", "--json"],
    "killed_together.py": ["1"],
    "live_page.py": ["--small", "--json"],
    "hours.py": ["--small", "--json"],
    "kills.py": ["--small"],
    "noise.py": ["--small", "--json"],
    "off_wins.py": ["1"],
    "options.py": ["wine", "--small", "--json"],
    "predictions.py": ["--small", "--json"],
    "read_again.py": ["--small", "--json"],
    "repeat_survey.py": ["--small", "--json"],
    "second_gate.py": ["--small", "--json"],
    "soak.py": ["--nights", "1"],
    "switching_law.py": ["--small", "--json"],
    "transistor.py": ["--small", "--json"],
    "two_trees.py": ["--small", "--json"],
    "write_verify.py": ["--small", "--json"],
}
"""Benchmarks and their words; `same_results.py` compares two runs and has tests of its own."""


def carried_out(name, *words):
    """Return what a benchmark prints."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_benchmark_is_here():
    assert {path.name for path in (ROOT / "benchmarks").glob("*.py")} == {*SMALL, "same_results.py"}


@pytest.mark.slow
def test_joined_sources_need_a_third_of_the_routes_and_less_than_half_of_the_time():
    host, inside, two, three = json.loads(carried_out("hours.py", *SMALL["hours.py"]))
    assert inside["routes"] <= host["routes"], "a cell that needs another pulse keeps its route inside"
    assert inside["hours"] < host["hours"]
    assert 2.5 * two["routes"] < host["routes"]
    assert two["die"] < host["die"] / 2
    assert three["die"] < two["die"]
    assert all(sum(row["shares"].values()) == pytest.approx(1) for row in (host, inside, two, three))
    assert host["shares"]["relays moving"] > three["shares"]["relays moving"]


@pytest.mark.slow
def test_a_plan_predicts_the_clock_of_the_twin_and_the_times_of_simulated_dies():
    rows = json.loads(carried_out("predictions.py", *SMALL["predictions.py"]))
    assert [row["stage"] for row in rows] == ["survey", "network"] * 2
    assert all(row["ratio"] == pytest.approx(1.0, rel=0.2) for row in rows)


@pytest.mark.slow
def test_a_bench_costs_what_the_document_says():
    figures = json.loads(carried_out("bench.py", *SMALL["bench.py"]))
    ours = figures["cost"]["ours"]
    text = " ".join((ROOT / "docs" / "bench.md").read_text(encoding="utf-8").split())
    assert f"round trips per programmed cell (pulse and verify) | {ours['cell']['round_trips']:.1f} |" in text
    assert f"columns | {ours['read-out']['round_trips']:.0f} |" in text
    linked, apart = (figures["cost"]["inside"][name]["cell"]["round_trips"] for name in ("TSP-Link", "apart"))
    assert linked <= 1 / 34
    theirs = figures["cost"]["pymeasure"]
    assert theirs is None or theirs["cell"]["round_trips"] > 100 * linked
    assert f"| {linked:.3f} | {apart:.1f} |" in text
    assert ours["safety"]["hot_switches"] == figures["runs"]["bytes"]["hot_switches"] == 0
    assert min(figures["queries_per_second"].values()) > 0


@pytest.mark.slow
def test_a_chip_is_surveyed_programmed_and_inferred():
    figures = json.loads(carried_out("chip.py", *SMALL["chip.py"]))
    assert len(figures) == 10
    assert min(figures.values()) > 0


@pytest.mark.slow
def test_a_page_beside_a_run_shows_every_die():
    pytest.importorskip("uvicorn", reason="needs the extra 'serve'")
    figures = json.loads(carried_out("live_page.py", *SMALL["live_page.py"]).splitlines()[-1])
    assert figures["dies"] == 3
    assert figures["mark, latest, s"] >= figures["mark, median, s"] > 0
    assert 0 < figures["page, processor s"] < figures["run, processor s"]


@pytest.mark.slow
def test_a_board_keeps_its_limits_and_reads_as_its_chip_does():
    figures = json.loads(carried_out("board.py", *SMALL["board.py"]))
    assert [board["within"] for board in figures["limits"].values()] == [True] * 4
    assert figures["without_noise"]["apart"] < 2
    assert 0.8 < figures["with_noise"]["variances"] < 1.2


@pytest.mark.slow
def test_a_network_placed_by_one_survey_is_better_by_the_other_too():
    figures = json.loads(carried_out("repeat_survey.py", *SMALL["repeat_survey.py"]))
    assert figures["bench time of a survey, s"] > 0
    assert figures["bad in one only"] < figures["bad in both"]
    errors = [figures[f"error, {name}"] for name in ("remapped, by the same survey", "not remapped")]
    assert errors[0] < figures["error, remapped, by the other survey"] < errors[1]


@pytest.mark.slow
def test_a_share_of_a_second_gate_takes_shorts_away_and_little_of_good_cells():
    figures = json.loads(carried_out("second_gate.py", *SMALL["second_gate.py"]))
    one, two = figures["one gate"], figures["two gates"]
    assert 0.07 < figures["best share"] < 0.1
    assert two["short"] < 0.2 * one["short"]
    assert one["good"] < two["good"] < 1.3 * one["good"]
    assert figures["ratio"] == pytest.approx(two["all"] / one["all"])


def test_the_circuit_solver_agrees_with_the_other_one():
    pytest.importorskip("badcrossbar", reason="needs the extra 'judges'")
    figures = json.loads(carried_out("crossbar.py", *SMALL["crossbar.py"]))
    assert len(figures["compared"]) == 4
    assert max(row["difference"] for row in figures["compared"]) < 1e-9
    assert [row["n"] for row in figures["growth"]] == [16]


def test_the_switching_law_agrees_with_the_equation_and_its_table_stands_in_the_document(tmp_path):
    words = [*SMALL["switching_law.py"], "--picture", str(tmp_path / "law.png")]
    figures = json.loads(carried_out("switching_law.py", *words))
    rate, share, tail = figures["deviations"].values()
    assert (rate < 0.05, share < 0.05, tail < 2.0) == (True, True, True)
    text = (ROOT / "docs" / "physics.md").read_text(encoding="utf-8")
    assert "\n".join(figures["table"]) in text
    assert (tmp_path / "law.png").stat().st_size > 10_000


def test_noise_in_time_is_that_of_the_closed_forms(tmp_path):
    words = [*SMALL["noise.py"], "--picture", str(tmp_path / "noise.png")]
    in_time, anew, white = json.loads(carried_out("noise.py", *words))
    for m, tolerance in (("1", 0.04), ("16", 0.1)):
        assert in_time["over"][m] == pytest.approx(1.0, abs=tolerance)
        assert white["over"][m] == pytest.approx(1.0, abs=tolerance)
    assert anew["allan"]["1"] == pytest.approx(16 * anew["allan"]["16"], rel=0.2)
    assert (tmp_path / "noise.png").stat().st_size > 10_000


@pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed (Debian package ngspice)")
def test_the_transistor_agrees_with_ngspice_and_its_table_stands_in_the_document(tmp_path):
    words = [*SMALL["transistor.py"], "--picture", str(tmp_path / "cell.png")]
    figures = json.loads(carried_out("transistor.py", *words))
    assert len(figures["deviations"]) == 4
    assert max(figures["deviations"].values()) < 1e-3
    text = (ROOT / "docs" / "physics.md").read_text(encoding="utf-8")
    assert "\n".join(figures["table"]) in text
    assert (tmp_path / "cell.png").stat().st_size > 10_000


@pytest.mark.slow
def test_hard_cells_are_written_with_few_pulses_and_chance_gives_nobody_up():
    figures = json.loads(carried_out("write_verify.py", *SMALL["write_verify.py"]))
    most = {"10 ms": 1.2, "100 ms": 1.35}
    verified = [row for row in figures["hard"] if row["mode"] == "verify"]
    assert [row["fidelity"] for row in verified] == [1.0] * 4
    assert all(row["pulses_per_cell"] < most[row["pulse"]] for row in verified)
    blind = [row for row in figures["hard"] if row["mode"] == "open_loop"]
    assert all(0.9 < row["fidelity"] < 1.0 == row["pulses_per_cell"] for row in blind)
    assert all(abs(row["last_ten"] - row["first_ten"]) < 0.02 for row in figures["weak"])


@pytest.mark.slow
def test_two_folders_are_run_in_turns(tmp_path):
    """Of this folder against itself, by a link to the interpreter that runs the tests."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tmp_path / ".venv" / "bin" / "python").chmod(0o755)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (row,) = json.loads(carried_out("two_trees.py", str(tmp_path), str(tmp_path), *SMALL["two_trees.py"]))
    assert 0.3 < row["ratio"] < 3.0
    assert min(row["old"], row["new"]) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("which", ["wine", "digits"])
def test_an_option_is_compared_on_the_same_die(which):
    without, alone = json.loads(carried_out("options.py", which, "--small", "--json")).values()
    assert without.keys() == alone.keys() == {"fidelity", "blind", "untuned", "tuned", "seconds"}
    assert without["fidelity"][0] > 98 > 50 < alone["tuned"][0]
    if which == "wine":  # the option is 25 ohm in every line
        assert alone["blind"][0] < without["blind"][0] - 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a process group is killed")
@pytest.mark.parametrize(
    "more", [[], ["--bench"], ["--cluster"]], ids=["the whole run", "the owner of the bench", "a worker of a cluster"]
)
def test_nothing_is_lost_by_kills(more):
    if "--cluster" in more:
        pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    text = carried_out("kills.py", *SMALL["kills.py"], *more)
    assert "0 acknowledged rows lost" in text


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="processes are killed")
@pytest.mark.parametrize("more", [[], ["--by-hand"]], ids=["a run", "a command by hand"])
def test_what_is_killed_together_is_made_safe_and_everybody_says_so(more):
    text = carried_out("killed_together.py", *SMALL["killed_together.py"], *more)
    assert "on again 0 times" in text
    assert text.strip().endswith("1 of 1")


@pytest.mark.slow
def test_a_night_on_the_board_is_timed_beside_simulated_dies():
    figures = json.loads(carried_out("board_night.py", *SMALL["board_night.py"]))
    assert [(run["run"], run["sealed"]) for run in figures["runs"]] == [("simulated dies", 1), ("emulated board", 1)]
    plain, board = (run["seconds"] for run in figures["runs"])
    assert figures["ratio"] == pytest.approx(board / plain)


@pytest.mark.slow
def test_damage_is_never_believed():
    text = carried_out("damage.py", *SMALL["damage.py"])
    assert "silently wrong numbers 0, undocumented errors 0" in text


@pytest.mark.slow
def test_off_wins():
    text = carried_out("off_wins.py", *SMALL["off_wins.py"])
    assert "energised again 0 times" in text
    assert text.strip().endswith("0 hot switches; exit codes (off, run): (0, 4)")


@pytest.mark.slow
def test_a_night_with_faults_ends_in_a_documented_state():
    text = carried_out("soak.py", *SMALL["soak.py"])
    assert "0 nights in no documented state" in text


@pytest.fixture(scope="module")
def soak():
    spec = importlib.util.spec_from_file_location("soak", ROOT / "benchmarks" / "soak.py")
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("growth", "sealing", "handles", "code", "exit_code", "words"),
    [
        (0.0, 0.0, 0, 0, 0, "private memory after night 20: +0.0 kB a night"),
        (15.0, 0.0, 0, 1, 0, "private memory after night 20: +15.0 kB a night"),
        (25.0, 0.0, 0, 3, 1, "private memory after night 20: +25.0 kB a night"),
        (0.0, 25.0, 0, 0, 1, "sealing process after night 20: +25.0 kB a night"),
        (0.0, 0.0, 1, 0, 1, "handles GROW, threads flat"),
        (0.0, 0.0, 0, 70, 1, "60 nights in no documented state"),
    ],
)
def test_memory_that_grows_handles_that_stay_and_bugs_are_told(
    soak, capsys, growth, sealing, handles, code, exit_code, words
):
    nights = [
        soak.Night(1e5 + growth * k + k % 2, 4e4 + sealing * k, 9 + handles * k, 3, (2, 1), code, {"D0": "done"})
        for k in range(60)
    ]
    assert soak.judge(nights) == exit_code
    assert words in capsys.readouterr().out


def test_a_fleet_is_asked_beside_other_programs():
    for package in ("pyarrow", "pandas", "duckdb"):
        pytest.importorskip(package)
    figures = json.loads(carried_out("fleet.py", *SMALL["fleet.py"]))
    assert len(set(figures["counts"].values())) == 1
    assert 0 < figures["counts"]["query"] < figures["rows"] == 20
