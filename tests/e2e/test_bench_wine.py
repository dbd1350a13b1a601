"""Wine on a bench: the same file on the simulated die, on emulated instruments in process, and on them over TCP.

The die has one array that is as large as the first layer, 13 x 12 cells, and both layers are on it in turn.
"""

import shutil

import numpy as np
import pytest
import yaml

from labctl.execution import die_job
from labctl.execution.stop import Stop
from labctl.networks import solutions
from labctl.station import composition, run_folder
from labctl.station.jobs import jobs_of
from labctl.storage.results import open_run
from tests.e2e.conftest import EXAMPLES
from tests.e2e.one_array import CHANGE, PLACEMENT, bench_text


def on_one_array(folder, die):
    """Write a campaign of one die and one solution, both layers on one array, and its bench; return their paths."""
    one = folder / "one.npz"
    solutions.save(one, solutions.load(EXAMPLES / "wine-solutions.npz").take(np.arange(1)))
    said = yaml.safe_load((EXAMPLES / "wine-passive.yaml").read_text(encoding="utf-8"))
    said["dies"] = [{"name": "D80", "file": str(EXAMPLES / "dies" / die), "change": CHANGE}]
    said["stages"][1]["network"] |= {"solutions": str(one), "placement": PLACEMENT}
    campaign, bench = folder / "campaign.yaml", folder / "bench.yaml"
    campaign.write_text(yaml.safe_dump(said, sort_keys=False), encoding="utf-8")
    bench.write_text(bench_text(), encoding="utf-8")
    return campaign, bench


@pytest.fixture(scope="module")
def ideal(tmp_path_factory):
    """A campaign of one ideal die and one solution, and a bench whose twin measures without error."""
    campaign, realistic = on_one_array(tmp_path_factory.mktemp("ideal"), "ideal-15x15.yaml")
    text, bench = realistic.read_text(), realistic.with_name("ideal-bench.yaml")
    assert "ideal_instruments: false" in text
    bench.write_text(text.replace("ideal_instruments: false", "ideal_instruments: true"))
    return campaign, bench


@pytest.fixture(scope="module")
def runs(tmp_path_factory, labctl, ideal):
    """The ideal die simulated, on the ideal twin in process, over TCP, and on the realistic twin in process."""
    campaign, bench = ideal
    folder = tmp_path_factory.mktemp("runs")
    ways = {
        "simulated": (),
        "bytes": ("--bench", bench, "--sim", "bytes"),
        "tcp": ("--bench", bench, "--sim", "tcp"),
        "realistic": ("--bench", bench.with_name("bench.yaml"), "--sim", "bytes"),
    }
    printed = {name: labctl("run", campaign, "--out", folder / name, *way).stderr for name, way in ways.items()}
    return {name: open_run(folder / name).die("D80") for name in ways}, printed


def same(one, other, table, *columns):
    pairs = [(one.table(table)[c], other.table(table)[c]) for c in columns]
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs)


PREDICTED = tuple(f"{tuning}_{part}" for tuning in ("untuned", "tuned") for part in ("train", "test"))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["bytes", "tcp"])
def test_cell_states_and_predictions_are_those_of_the_simulated_die(runs, way):
    (simulated, bench), _ = (runs[0]["simulated"], runs[0][way]), runs[1]
    assert simulated.table("readback").rows == bench.table("readback").rows > 150
    assert same(simulated, bench, "readback", "solution", "kernel", "row", "col", "target", "state", "flag")
    assert same(simulated, bench, "attempt", "kernel", "row", "col", "voltage", "target", "verified")
    assert same(simulated, bench, "prediction", "solution", *PREDICTED)
    assert same(simulated, bench, "survey", "defect", "good")
    one, other = (die.table("readback")["conductance"] for die in (simulated, bench))
    assert np.abs(one / other - 1).max() < 1e-6


@pytest.mark.slow
def test_both_transports_carry_the_very_same_numbers(runs):
    over_bytes, over_tcp = runs[0]["bytes"], runs[0]["tcp"]
    for name in over_bytes.tables:
        columns = [c for c in over_bytes.table(name) if c not in ("seq", "utc")]
        assert same(over_bytes, over_tcp, name, *columns), name


@pytest.mark.slow
def test_realistic_instruments_differ_by_their_resolution_and_noise_only(runs):
    simulated, bench = runs[0]["simulated"], runs[0]["realistic"]
    assert same(simulated, bench, "readback", "solution", "target", "state")
    one, other = (die.table("readback")["conductance"] for die in (simulated, bench))
    worst = np.abs(other / one - 1).max()
    assert 1e-6 < worst < 2e-3
    a, b = simulated.table("prediction"), bench.table("prediction")
    changed = [np.mean(a[c] != b[c]) for c in PREDICTED]
    assert max(changed) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("way", ["bytes", "tcp", "realistic"])
def test_the_bench_was_safe_all_along(runs, way):
    said = " ".join(runs[1][way].split())
    for clean in ("0 hot switches", "0 moves in contact", "0 source fights"):
        assert clean in said


@pytest.mark.slow
def test_between_any_two_messages_of_a_campaign_no_source_has_a_level(tmp_path, monkeypatch):
    """Survey, network and inference of one solution; the sources whose link may die at any moment are cold then."""
    monkeypatch.setattr(die_job, "seal_in_subprocess", lambda folder, die: "")
    campaign, bench = on_one_array(tmp_path, "passive-15x15.yaml")
    spec = composition.read(campaign, None, None, bench, "bytes")
    meta = run_folder.make_folder(tmp_path / "run", spec, [])
    warm, used = [], set()

    def watch(name, smu):
        obey = smu.execute

        def execute(message):
            reply = obey(message)
            used.update((name, message[:60]) for part in smu.smus.values() if part.set.output)
            for channel, part in smu.smus.items():
                if part.set.output and (part.set.levelv, part.set.limiti) != (0.0, 10e-6):
                    warm.append((name, channel, message, part.set.levelv, part.set.limiti))
            return reply

        smu.execute = execute

    with spec.station.opened(lambda text: True, spec.station.twin()) as body:
        for name in ("smu1", "smu2"):
            watch(name, body.twin.instruments[name])
        (job,) = jobs_of(spec, tmp_path / "run", meta)
        result = die_job.run_die(job, spec.stages, lambda *message: None, Stop(), body)
        assert result.outcome.exit_code == 0
        assert body.twin.ledger.peak_cell_voltage > 0.4
    assert len(used) > 1000
    assert {name for name, _ in used} == {"smu1"}
    assert warm == []


def test_50_ns_is_refused_in_plan_and_told_who_makes_none_shorter(labctl, ideal, tmp_path):
    campaign, bench = ideal
    short = ("--set", "stages.1.network.write_verify.width='50 ns'")
    done = labctl("plan", campaign, "--bench", bench, *short, expect=2)
    assert "smu1 (2602B) makes none shorter than 0.0002 s" in done.stderr
    labctl("run", campaign, "--bench", bench, "--out", tmp_path / "none", *short, expect=2)
    assert not (tmp_path / "none").exists()


def test_more_levels_than_channels_are_refused_in_plan(labctl, ideal):
    campaign, bench = ideal
    done = labctl("plan", campaign, "--bench", bench, "--set", "stages.1.network.inference.mode=parallel", expect=2)
    assert "13 levels and a sensed column at once" in " ".join(done.stderr.split())
    assert "14 channels of one instrument are needed" in " ".join(done.stderr.split())
    assert "smu1 (2602B) with 2" in " ".join(done.stderr.split())


def test_a_wiring_that_contradicts_itself_is_refused_with_its_line(labctl, ideal, tmp_path):
    campaign, bench = ideal
    twice = tmp_path / "twice.yaml"
    twice.write_text(bench.read_text().replace("d14: 5-12", "d14: 5-11"))
    done = labctl("plan", campaign, "--bench", twice, expect=2)
    assert "5-11" in done.stderr
    labctl("check", twice, "--sim", "bytes", expect=2)
    shutil.copy(bench, twice)
    labctl("check", twice, "--sim", "bytes")
