"""Mistakes that people make, and the words that they get: one line, what was found, what was expected, and 2.

2 means that no folder was made and nothing written. Each line of `MISTAKES` is one mistake at one door; whoever mends
a poor message adds it here.
"""

import os

import numpy as np
import pytest

import labctl as labctl_api
from labctl.core.errors import LabError
from protocols.bias import read_bias
from tests import small_run

CAMPAIGN = """name: c
dies: [{name: A, file: die.yaml}]
limits: {v_towards_p: 700 mV, v_towards_ap: 700 mV, width: 10 ms, compliance: 10 mA, v_count: 350 mV,
         pulses_per_cell: 1000}
stages: [survey: {v_start: 420 mV, v_max: 600 mV}]
"""
NO_RUN = "there is no run here; expected a run folder"
EXISTS = "it exists; an export never writes over anything"
MISTAKES = (
    # files named in the wrong place
    ("plan die.yaml", "die.yaml:1: found a die file (it has 'geometry' and 'junction'), expected a campaign file"),
    ("run c.yaml --bench die.yaml", "found a die file (it has 'geometry' and 'junction'), expected a bench file"),
    ("check c.yaml", "found a campaign file"),
    ("off die.yaml --sim bytes", "found a die file"),
    ("twin die.yaml", "found a die file (it has 'geometry' and 'junction'), expected a bench file"),
    ("train c.yaml --out w.npz", "found a campaign file"),
    ("plan run/run.json", "run/run.json: found the run.json of a run, expected a YAML file"),
    ("check run/report.json", "run/report.json: found the report.json of a run, expected a YAML file"),
    ("plan run", "run: found a folder, expected a YAML file"),
    ("plan nowhere.yaml", "nowhere.yaml: no such file"),
    ("check nowhere.yaml", "nowhere.yaml: no such file"),
    ("show c.yaml", "expected a run folder, or the sealed file of a die, NAME.h5; it is a YAML file"),
    ("report c.yaml", f"c.yaml: {NO_RUN}; it is a YAML file"),
    ("export c.yaml --stdf a.stdf", f"c.yaml: {NO_RUN}; it is a YAML file"),
    ("verify .", f".: {NO_RUN}; it is a folder of 1 run: run"),
    ("prune .", f".: {NO_RUN}; it is a folder of 1 run: run"),
    ("publish c.yaml --out b --licence CC0-1.0", f"c.yaml: {NO_RUN}; it is a YAML file"),
    ("publish run --out b", "no licence is given; expected --licence, such as CC-BY-4.0, or 'licence' in the --about"),
    ("publish run --out run --licence CC0-1.0", "run: it exists; a bundle never writes over anything"),
    ("publish run --out nowhere/b --licence CC0-1.0", "there is no folder nowhere; expected one that exists"),
    ("publish run --out b --licence CC0-1.0 --date today", "--date today: expected a day such as 2026-12-01"),
    ("publish run --out b --about c.yaml", "c.yaml:1: found a campaign file"),
    (
        "import-network c.yaml --out w.npz --data wine --accuracy 90%",
        "c.yaml is a YAML file; expected arrays written by",
    ),
    ("import-network w.pt --out w.npz --data wine --accuracy 90%", "w.pt cannot be read: No such file"),
    ("import-network c.yaml --out w.npz --data wine --accuracy good", "--accuracy good: expected what is known of the"),
    (
        "import-network c.yaml --out w.npz --data wine --accuracy 90% --scale a",
        "--scale a: expected numbers with commas",
    ),
    ("export run --crosssim a", "run has no surveyed die; expected the run of a campaign with a survey"),
    ("resume nowhere", f"nowhere: {NO_RUN}; no such file or folder"),
    ("watch run/dies", f"run/dies: {NO_RUN}; it is a folder of the run "),
    ("stop run/run.h5", f"run/run.h5: {NO_RUN}; it is a file of the run "),
    ("stress --ledger c.yaml", "c.yaml is a YAML file; expected a stress ledger, such as stress.db"),
    ("fleet add c.yaml nowhere", "2 runs left out: c.yaml: there is no run here"),
    ("fleet query --fleet c.yaml", "c.yaml: found a YAML file, expected a fleet"),
    ("fleet query --fleet run", "run: found a folder, expected a fleet"),
    ("fleet add run --fleet c.yaml --anew", "c.yaml: found a YAML file, expected a fleet"),
    ("fleet query", "fleet.parquet: no such file; 'labctl fleet add RUN ... --fleet fleet.parquet' makes it"),
    # places that are taken, or not there
    ("run c.yaml --out run", "run exists and is not empty; a run never writes over another: name a new folder"),
    ("export run --csv c.yaml", f"c.yaml: {EXISTS}"),
    ("export run --stdf nowhere/a.stdf", "there is no folder nowhere; expected one that exists"),
    ("export run", "nothing to export to; name --stdf FILE, --csv DIR, --g85 FILE, "),
    ("new campaign c.yaml", "c.yaml: it exists, and nothing is ever written over; name another place"),
    ("new die nowhere/d.yaml", "there is no folder nowhere; expected one that exists"),
    # names and values
    ("run c.yaml --only B", "there is no die B; there are A"),
    ("run c.yaml --only A --only B", "--only is given twice, the last time as 'B'; expected once"),
    ("run c.yaml --workers 0", "--workers 0: expected at least 1"),
    ("plan c.yaml --set limits.width=10", "limits.width: the bare number 10 has no unit; expected a quantity"),
    ("plan c.yaml --set seeds=3", "seeds: found the unknown key 'seeds'; did you mean 'seed'?"),
    ("plan c.yaml --set seed", "--set seed: expected key=value"),
    ("plan c.yaml --set dies.0.name=../x", "dies.0.name: found '../x', expected 1 to 64 ASCII letters"),
    ("plan c.yaml --sim bytes", "--sim bytes without --bench: the twin is that of a bench; expected --bench FILE too"),
    ("plan c.yaml --sim byte", "--sim byte: expected bytes or tcp"),
    ("run c.yaml --only ,", "--only ',': found no name, expected some such as D03,D22 (is a variable empty?)"),
    ("resume run --only ,", "--only ',': found no name"),
    ("resume run --only Q", "run has no die Q; it has A, B; there is something left to do on none"),
    (
        "plan c.yaml --set limits.width=10 ms",
        "a value with a blank stands in quotes, in PowerShell one with a comma too: --set 'limits.width=10 ms'",
    ),
    ("plan c.yaml d.yaml", "unexpected extra argument"),
    ("stress --account c.yaml --ledger s.db", f"c.yaml: {NO_RUN}; it is a YAML file"),
    ("stress --account empty --ledger s.db", f"empty: {NO_RUN}; it is an empty folder"),
    ("plan gone.yaml", "gone.yaml: no such file: it is a link to nowhere.yaml, which is not there"),
    ("run c.yaml --out gone.yaml", "gone.yaml is a link to nowhere.yaml, which is not there; expected another name"),
    ("reproduce wine-passive --solutions n.npz --out r", "--solutions n.npz: no such file; expected trained networks"),
    ("new campain x.yaml", "'campain': expected one of campaign, die, wafer, bench"),
    ("new die x.yaml --like nothing", "--like nothing: there is no such die; expected one of "),
    ("reproduce nothing", "no such command 'nothing'; expected one of mtj-chip, wine-passive"),
    ("schema nothing", "there is no schema of 'nothing'; expected one of campaign, die"),
    ("show run --die X", "has no die 'X'; it has A, B"),
    ("skip run X", "has no die X; it has A"),
    ("stop run", "nobody works on run, so there is nothing to stop: it ended"),
    ("notify c.yaml", "c.yaml notifies nobody; expected a section 'notify'"),
    ("verify", "missing argument 'RUN'"),
    ("resume run --acept-changes", "no such option: --acept-changes (Possible options: --accept-changes"),
)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a die, a campaign and a finished run."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "die.yaml").write_text("name: s\ngeometry: {n_rows: 3, n_cols: 2}\njunction: {diameter: 80 nm}\n")
    (folder / "c.yaml").write_text(CAMPAIGN)
    small_run.write_run(folder / "run")
    (folder / "empty").mkdir()
    (folder / "gone.yaml").symlink_to("nowhere.yaml")
    return folder


def content(folder):
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*") if "lock" not in path.name}


@pytest.mark.parametrize(("words", "says"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_a_mistake_is_named_in_a_line_and_changes_nothing(desk, labctl, words, says):
    before = content(desk)
    done = labctl(*words.split(), cwd=desk, expect=2)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("labctl: refused: ")
    assert says in last
    assert len(last) < 700
    assert content(desk) == before


@pytest.mark.parametrize("words", ["run|", "plan|c.yaml|--bench|", "run|c.yaml|--out|", "show|", "fleet|add|run|"])
def test_an_empty_path_is_not_the_current_folder(desk, labctl, words):
    before = content(desk)
    done = labctl(*words.split("|"), cwd=desk, expect=2)
    assert "found an empty text, expected a path (is a variable empty?)" in done.stderr
    assert content(desk) == before


def test_a_rule_of_a_comparison_is_judged_before_hours_are_spent(desk, labctl):
    pytest.importorskip("jax")
    words = "reproduce mtj-chip --data digits --out r --exclude"
    done = labctl(*words.split(), "defects", cwd=desk, expect=2)
    assert "refused: --exclude: 'defects' is no comparison; expected <, <=, > or >=" in done.stderr
    assert not (desk / "r").exists()


def test_a_folder_that_takes_nothing_is_told_before_the_work(desk, labctl, monkeypatch):
    monkeypatch.setattr("labctl.core.names.os.access", lambda path, mode: mode != os.W_OK)
    for words in ("export run --csv c", "new die x.yaml"):
        done = labctl(*words.split(), cwd=desk, expect=2)
        assert "nothing can be written into .; expected another place" in done.stderr


def test_the_campaign_is_sound(desk, labctl):
    labctl("plan", "c.yaml", cwd=desk)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "accept: {good: 90}",
            "accept.good: found the unknown key 'good', expected one of 'fidelity', 'accuracy', 'drop'; by other "
            "figures 'bins' judges: bins: [{bin: low, hard: 4, when: tmr < 60 %}]",
        ),
        ("accept: {fidelity: 90 %}", "there is no figure 'fidelity'; expected one that a stage gives. The stages of"),
        ("bins: [{bin: x, hard: 3, when: good > 2 points}]", "2 points is 2 %: write that"),
        ("bins: [{bin: x, hard: 3, when: good < 90}]", "'90' has no unit, and good cells is shown in %"),
        ("bins: [{bin: x, hard: 3, when: goood < 90 %}]", "there is no figure 'goood'; did you mean 'good'?"),
        ("batch: {order: center-out}", "found 'center-out', expected 'map', 'centre-out' or 'shuffled'; did you mean"),
        ("batch: {budgets: {time: 8}}", "batch.budgets.time: the bare number 8 has no unit; expected a quantity"),
        ("notify: {tag: night, on: [ende]}", "notify.on.0: found 'ende', expected 'alarm'"),
        ("seed: -5", "seed: found -5, expected at least 0"),
        ('title: "a\\e[2Jb"', "title: found the control character U+001B, expected printable text"),
        ("operator: {name: Kim}", "operator: found"),
        ("# https://hc-ping.com/0b6b1f5e-8b1a-4f4e-9d58-3a6f6ef0b8a1", "found the address of a ping, expected none"),
    ],
)
def test_a_mistake_in_a_campaign_is_named_with_its_line(desk, labctl, line, says):
    path = desk / "wrong.yaml"
    path.write_text(f"{CAMPAIGN}{line}\n")
    done = labctl("plan", "wrong.yaml", cwd=desk, expect=2)
    (last,) = done.stderr.splitlines()
    assert "wrong.yaml:6: " in last
    assert says in last


DIE = "name: s\ngeometry:\n  n_rows: 3\n  n_cols: 2\njunction:\n  diameter: 80 nm\n"
WAFER = "name: W\nlot: L7\nmap:\n- .X.\n- XXX\n"


@pytest.mark.parametrize(
    ("campaign", "other", "says"),
    [
        (("name: A,", "name: A, file: die.yaml}, {name: a,"), None, "of the dies A and a differ in case only"),
        (("name: A,", "name: A, file: die.yaml}, {name: A,"), None, "of the dies two are called A; expected a name of"),
        (("die.yaml", '"dies\\new.yaml"'), None, "a backslash in double quotes makes one; expected single quotes"),
        (None, ("diameter: 80 nm", "kernel_diameters: [55 nm, 65 nm]"), "die.yaml:6: 2 kernel_diameters for 1 kernels"),
        (
            None,
            ("junction:", "simulation:\n  transistor: {}\njunction:"),
            "die.yaml:6: a passive die has no transistor",
        ),
    ],
)
def test_a_mistake_of_two_places_is_found_at_one_of_them(tmp_path, labctl, campaign, other, says):
    (tmp_path / "die.yaml").write_text(DIE.replace(*other) if other else DIE)
    (tmp_path / "c.yaml").write_text(CAMPAIGN.replace(*campaign) if campaign else CAMPAIGN)
    assert says in labctl("plan", "c.yaml", cwd=tmp_path, expect=2).stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("wafer", "says"),
    [
        (("- XXX", "- X X X"), "map.1: the blanks in 'X X X' are taken for places without a die"),
        (("- XXX", "- XXXX"), "map.1: 'XXXX' has 4 places and the first row 3"),
        (("map:", "fiducials: [{at: x9y9, expect: contact}]\nmap:"), "where the map has no die; the map cannot be"),
        (("map:", "fiducials: [{at: x1y0, expect: no contact}]\nmap:"), "where the map has a die; the map cannot be"),
        (
            ("lot: L7", "vary: {ra: {sigma: 1 %}}"),
            "stages.0.survey.v_gate: a gate voltage, and no die of this",
        ),
        (None, "--set: batch.pretest: the pre-test is of 9 dies and the run has 4; expected fewer"),
    ],
)
def test_what_is_legal_and_hardly_meant_is_said_before_the_run(tmp_path, labctl, wafer, says):
    (tmp_path / "die.yaml").write_text(DIE)
    (tmp_path / "wafer.yaml").write_text(WAFER.replace(*wafer) if wafer else WAFER)
    (tmp_path / "c.yaml").write_text(
        CAMPAIGN.replace("dies: [{name: A, file: die.yaml}]", "wafer: {file: wafer.yaml, die: die.yaml}")
        .replace("v_max: 600 mV", "v_max: 600 mV, v_gate: 3 V")
        .replace("compliance: 10 mA", "compliance: 10 A")
    )
    out = labctl("plan", "c.yaml", "--set", f"batch.pretest={2 if wafer else 9}", cwd=tmp_path).stdout
    assert says in out
    assert "limits.compliance: a current limit of 10 A, and all cells in P of a line of die W-x1y0 take" in out


def test_a_bench_that_does_not_go_with_the_wafer_is_named(tmp_path, labctl):
    (tmp_path / "die.yaml").write_text(DIE.replace("n_rows: 3", "n_rows: 1").replace("n_cols: 2", "n_cols: 1"))
    (tmp_path / "wafer.yaml").write_text(WAFER.replace("map:", "fiducials: [{at: x9y9, expect: no contact}]\nmap:"))
    (tmp_path / "c.yaml").write_text(
        CAMPAIGN.replace("dies: [{name: A, file: die.yaml}]", "wafer: {file: wafer.yaml, die: die.yaml}")
    )
    labctl("new", "bench", "bench.yaml", "--like", "bench-2400-two-needles", cwd=tmp_path)
    done = labctl("plan", "c.yaml", "--bench", "bench.yaml", cwd=tmp_path, expect=2)
    assert "bench.yaml:" in done.stderr
    assert "the wafer has fiducials, and the bench '2400 on two needles' has no prober to go there" in done.stderr
    (tmp_path / "wafer.yaml").write_text(WAFER)
    done = labctl("plan", "c.yaml", "--bench", "bench.yaml", cwd=tmp_path, expect=2)
    assert "bench.yaml:3: 4 dies, and the bench '2400 on two needles' has no prober" in done.stderr
    (tmp_path / "die.yaml").write_text(DIE)
    done = labctl("run", "c.yaml", "--bench", "bench.yaml", "--only", "W-x1y0", cwd=tmp_path, expect=2)
    assert "wiring: die W-x1y0: the wiring is for 1 kernel of 1 x 1 lines; the die has 1 of 3 x 2" in done.stderr


def test_the_twin_says_of_an_address_that_it_is_none(tmp_path, labctl):
    labctl("new", "bench", "bench.yaml", "--like", "bench-2400-two-needles", cwd=tmp_path)
    path = tmp_path / "bench.yaml"
    path.write_text(path.read_text().replace("GPIB0::24::INSTR  ", "192.0.2.24  "))
    assert "warning: no VISA address (" in labctl("check", "bench.yaml", "--sim", "bytes", cwd=tmp_path).stdout


PLACE = (np.array([0]), np.array([0]), np.array([0]))


def read(die, voltage=0.1, aperture=1e-3):
    return labctl_api.Sense(read_bias(die.geometry, *PLACE, voltage), PLACE[2], aperture)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A die whose block has ended, which did nothing wrong."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "die.yaml").write_text(DIE)
    with labctl_api.simulated_die(folder / "die.yaml", folder=folder / "run") as die:
        die.sense(read(die))
    return die


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (lambda die: die.sense(read(die)), "the block of this die has ended and its file is sealed, in "),
        (lambda die: read(die, "100 mV"), "the voltage of a read is '100 mV'; expected a number of volts, such as 0.1"),
        (lambda die: read(die, 0.1, "1 ms"), "the aperture is '1 ms'; expected a number of seconds, such as 1e-3"),
        (lambda die: labctl_api.Pulse(read(die).bias, "1 ms"), "the pulse width is '1 ms'; expected a number of"),
        (lambda die: read_bias(die.geometry, 0, 0, 0, 0.1), "kernel is 0; expected arrays of whole numbers, (n,)"),
        (lambda die: read_bias(die.geometry, *PLACE[:2], [0], 0.1), "column is [0]; expected arrays of whole numbers"),
        (lambda die: labctl_api.simulated_die("die.yaml", seed="a").__enter__(), "seed='a': expected a whole number"),
        (
            lambda die: labctl_api.simulated_die("die.yaml", limits={"v_toward_p": "1 V"}).__enter__(),
            "mean 'v_towards_p",
        ),
        (lambda die: labctl_api.simulated_die("die.yaml").sense, "this is no open die, so it has no 'sense'; expected"),
        (lambda die: labctl_api.run("c.yaml", workers=0), "workers=0: expected at least 1"),
        (lambda die: labctl_api.run("c.yaml", only=[]), "no die is chosen; expected some of A"),
        (lambda die: labctl_api.run(CAMPAIGN), "found a text of 5 lines, expected the path of a YAML file"),
        (lambda die: labctl_api.open_run(die.folder).table("attempt")["x"], "no table 'attempt'|no die of"),
    ],
)
def test_a_mistake_in_python_is_named_and_makes_no_folder(desk, ended, monkeypatch, mistake, says):
    monkeypatch.chdir(desk)
    before = content(desk)
    with pytest.raises((LabError, AttributeError, KeyError)) as caught:
        mistake(ended)
    assert any(part in str(caught.value) for part in says.split("|"))
    assert content(desk) == before


def test_a_column_that_a_table_does_not_have_is_named(desk):
    with pytest.raises(KeyError, match="the table 'map' has no column 'fidelty'; it has die, seq, "):
        labctl_api.open_run(desk / "run").table("map")["fidelty"]


@pytest.mark.parametrize("command", ["notify", "run"])
def test_what_cannot_be_notified_is_said_with_its_line(desk, labctl, command):
    (desk / "tell.yaml").write_text(f"{CAMPAIGN}notify: {{command: [no-such-program]}}\n")
    done = labctl(command, "tell.yaml", cwd=desk, expect=2)
    assert "tell.yaml:6: notify: the command 'no-such-program' is not there" in done.stderr
    (desk / "tell.yaml").unlink()
    assert not (desk / "runs").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0,7 V", "with a decimal point"),
        ("\u2212700 mV", "the minus sign of the keyboard"),
        ("700\u00a0mV", "not U+00A0"),
    ],
)
def test_a_quantity_of_a_text_program_is_refused_with_what_is_odd(desk, labctl, text, says):
    done = labctl("plan", "c.yaml", "--set", f"limits.v_towards_p={text}", cwd=desk, expect=2)
    assert says in done.stderr
