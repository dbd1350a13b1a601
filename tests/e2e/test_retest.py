"""Dies of an earlier run measured again: which ones, what is refused, first-pass and final yield."""

import json
import shutil
from dataclasses import replace

import pytest

import labctl as in_python
from labctl.batch.session import meta_of
from labctl.cli.plan import prepare
from labctl.core.die_state import State
from labctl.core.errors import BenchError
from labctl.core.events import RunEnded
from labctl.fleet.rows import rows_of
from labctl.station.retest import retested
from labctl.station.run_folder import make_folder
from labctl.storage.run_log import Runlog, read_state

DIE = """name: tiny
geometry: {kernels: 1, n_rows: 2, n_cols: 3}
junction: {diameter: 80 nm, ra: 12 ohm um^2, tmr: 120 %}
"""
WAFER = "name: W07\nlot: L3\nmap: [.XX., XXXX]\n"
CAMPAIGN = """name: again
seed: 3
wafer: {file: wafer.yaml, die: die.yaml, exclude: [x0y1]}
limits: {v_towards_p: 700 mV, v_towards_ap: 700 mV, width: 10 ms, compliance: 20 mA, v_count: 350 mV,
         pulses_per_cell: 1000}
stages: [survey: {}]
bins: [{bin: weak, hard: 4, when: tmr < 60 %}]
"""
ENDS = {"x1y0": "good", "x2y0": "contact", "x1y1": "weak", "x2y1": "contact", "x3y1": "good"}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A campaign of five dies, and a run of it in which two had no contact and one had another fault by chance."""
    folder = tmp_path_factory.mktemp("desk")
    for name, text in (("die.yaml", DIE), ("wafer.yaml", WAFER), ("c.yaml", CAMPAIGN)):
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with started(folder / "night", folder / "c.yaml") as log:
            for place, bin_ in ENDS.items():
                die = f"W07-{place}"
                log.set_state(die, State.RUNNING, 1)
                if bin_ == "contact":
                    log.set_state(die, State.CONTACT_FAIL, 1, "pads r0, c0: no contact", bin=bin_, hard=5)
                    continue
                log.set_state(die, State.SEALING, 1)
                hard = {"good": 1, "weak": 4}[bin_]
                log.set_state(die, State.DONE, 1, bin=bin_, hard=hard, figures={"tmr": 1.0})
            log.write(RunEnded(outcome="success", exit_code=1))
            log.finish()
    return folder


def started(run, campaign, **options):
    """Return the journal of a run that has its folder, and no more."""
    spec, plans = prepare(campaign, None, None, None, None, **options)
    manifest = make_folder(run, spec, ["labctl", "run", str(campaign)])
    log = Runlog.create(run, meta_of(manifest, spec, plans))
    for left_out in spec.skipped:
        log.set_state(left_out.name, State.SKIPPED, 1, left_out.excluded)
    return log


def facts(run):
    return json.loads((run / "report.json").read_text())


def test_plan_names_the_dies_and_measures_no_other(desk, labctl):
    done = labctl("plan", "c.yaml", "--retest", "night", "--bins", "contact,weak", "--json", cwd=desk)
    assert "retest of night, bin contact, weak: W07-x2y0, W07-x1y1, W07-x2y1" in done.stderr
    answer = json.loads(done.stdout)
    assert {stage["die"] for stage in answer["stages"]} == {"W07-x2y0", "W07-x1y1", "W07-x2y1"}
    assert answer["retest"]["bins"] == ["contact", "weak"]
    every = json.loads(labctl("plan", "c.yaml", "--retest", "night", "--json", cwd=desk).stdout)
    assert set(every["retest"]["bins"]) == {"contact", "weak"}


def test_yields_of_the_first_pass_and_of_all_passes(desk, labctl):
    labctl("run", "c.yaml", "--retest", "night", "--bins", "contact", "--out", "second", cwd=desk)
    again = facts(desk / "second")["retest"]
    assert (again["first_pass"], again["final"]) == ({"good": 2, "dies": 5}, {"good": 4, "dies": 5})
    assert again["dies"] == [{"die": f"W07-{p}", "before": "contact", "now": "good"} for p in ("x2y0", "x2y1")]
    shown = labctl("show", "second", cwd=desk).stdout
    assert "2 good now; first-pass yield 2 of 5 dies (40.0 %), final yield 4 of 5 dies (80.0 %)" in shown
    page = (desk / "second" / "report.html").read_text()
    assert "first-pass yield" in page
    assert page.count(">contact</td>") == 2
    # a retest of the retest still knows the first pass, and the die that is left
    labctl("run", "c.yaml", "--retest", "second", "--out", "third", cwd=desk)
    third = facts(desk / "third")
    assert (third["retest"]["first_pass"]["good"], third["retest"]["final"]["good"]) == (2, 5)
    assert [die["name"] for die in third["dies"] if die["state"] != "left out"] == ["W07-x1y1"]
    runs = [rows_of(desk / name) for name in ("night", "second", "third")]
    assert [run.rows[0]["retest"] for run in runs] == ["", runs[0].run_id, runs[1].run_id]


def test_it_is_resumed_as_what_it_is(desk, labctl):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(desk)
        with started(desk / "killed", desk / "c.yaml", retest=desk / "night", bins=("contact",)):
            pass
    labctl("resume", "killed", cwd=desk)
    again = facts(desk / "killed")["retest"]
    assert (again["first_pass"]["good"], again["final"]["good"]) == (2, 4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--bins", "wek"), "--bins wek: night knows no such bin; its dies are in good (2), contact (2), weak (1)"),
        (("--bins", "limit"), "--bins limit: no die of night is in such a bin"),
        (("--bins", "weak", "--only", "W07-x1y0"), "--only W07-x1y0: it is in bin 'good' in night, expected one of"),
        (("--seed", "4"), "night is of other simulated dies, those of seed 3, and this run would be of seed 4"),
        (("--set", "name=other"), "night is of the campaign 'again', expected one of 'other'"),
        (("--set", "wafer.change={junction: {tmr: 100 %}}"), "die W07-x1y0 is simulated otherwise than in night"),
        (("--set", "stages.0.survey.v_read=80 mV"), "stages.0.settings.v_read is 0.08, it was 0.1"),
        (("--set", "bins.0.when=tmr < 50 %"), "bins.0.when is"),
    ],
)
def test_what_does_not_compare_is_refused_in_words(desk, labctl, options, says):
    done = labctl("plan", "c.yaml", "--retest", "night", *options, cwd=desk, expect=2)
    (last,) = done.stderr.splitlines()
    assert says in last


def test_another_wafer_and_no_run_are_refused(desk, labctl, tmp_path):
    shutil.copytree(desk, tmp_path / "desk", ignore=shutil.ignore_patterns("second", "third", "killed"))
    other = tmp_path / "desk"
    (other / "wafer.yaml").write_text(WAFER.replace("L3", "L4"))
    refusal = labctl("run", "c.yaml", "--retest", "night", "--out", "new", cwd=other, expect=2).stderr
    assert "night is of lot 'L3', and this campaign is of lot 'L4'" in refusal
    assert not (other / "new").exists()
    (other / "wafer.yaml").write_text(WAFER.replace("W07", "W08"))
    assert "is of wafer 'W07'" in labctl("plan", "c.yaml", "--retest", "night", cwd=other, expect=2).stderr
    assert "there is no run here" in labctl("plan", "c.yaml", "--retest", "none", cwd=other, expect=2).stderr
    assert "without --retest" in labctl("plan", "c.yaml", "--bins", "weak", cwd=other, expect=2).stderr


def test_a_run_that_goes_on_is_refused_and_one_without_failures_has_none(desk, labctl, tmp_path):
    from labctl.storage.locks import hold

    run = shutil.copytree(desk / "killed" if (desk / "killed").exists() else desk / "night", tmp_path / "run")
    with started_open(run), hold(run, "labctl run c.yaml"):
        refusal = labctl("plan", desk / "c.yaml", "--retest", run, cwd=desk, expect=2).stderr
        assert "goes on, carried out by" in refusal


def started_open(run):
    """Return the journal of a run, taken up again, so that it has not ended."""
    from labctl.core.events import Resumed

    log = Runlog.open(run)
    log.write(Resumed(argv=(), pid=1, reason="", only=(), accepted=()))
    return log


def test_python_takes_the_same(desk):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(desk)
        run = in_python.run("c.yaml", "python", retest="night", bins=["weak"], progress=False)
    assert list(run.dies) == ["W07-x1y1"]
    assert run.meta["retest"]["bins"] == ["weak"]


def test_a_first_pass_with_injected_faults_is_called_no_measurement(desk, monkeypatch):
    state = read_state(desk / "night")
    rehearsed = replace(state, meta={**state.meta, "faults": {"name": "typical", "seed": 1, "list": []}})
    monkeypatch.setattr("labctl.station.retest.read_state", lambda run: rehearsed)
    monkeypatch.chdir(desk)
    spec, _ = prepare(desk / "c.yaml", None, None, None, None, retest=desk / "night", bins=("weak",))
    assert "a rehearsal with injected faults and no measurement, bin weak" in spec.retest.text
    assert spec.to_json()["retest"]["rehearsal"]


def test_dies_on_a_real_bench_are_no_retest_of_simulated_ones(desk, monkeypatch):
    state = read_state(desk / "night")
    real = replace(state, meta={**state.meta, "real": True})
    monkeypatch.setattr("labctl.station.retest.read_state", lambda run: real)
    monkeypatch.chdir(desk)
    with pytest.raises(
        BenchError, match="carried out on a real bench, and this run would be on simulated dies or a twin"
    ):
        prepare(desk / "c.yaml", None, None, None, None, retest=desk / "night")
    by_hand = replace(state, meta={**state.meta, "kind": "by hand"})
    monkeypatch.setattr("labctl.station.retest.read_state", lambda run: by_hand)
    with pytest.raises(BenchError, match="was made by hand and has no bins"):
        prepare(desk / "c.yaml", None, None, None, None, retest=desk / "night")


def test_a_wafer_from_another_slot_is_refused(desk, monkeypatch):
    state = read_state(desk / "night")
    monkeypatch.chdir(desk)
    spec, _ = prepare(desk / "c.yaml", None, None, None, None)
    assert "slot" not in spec.to_json()
    assert replace(spec, slot=4).to_json()["slot"] == 4
    for slot in (None, 4):
        there = replace(state, meta={**state.meta, **({"slot": slot} if slot else {})})
        monkeypatch.setattr("labctl.station.retest.read_state", lambda run, there=there: there)
        assert retested(replace(spec, slot=4), desk / "night", ("weak",)).retest.bins == ("weak",)
    with pytest.raises(BenchError, match="had its wafer from slot 4, and this campaign has it from slot 5; expected"):
        retested(replace(spec, slot=5), desk / "night", ("weak",))
