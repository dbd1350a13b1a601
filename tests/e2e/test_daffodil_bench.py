"""The example of a board, and its campaign on a small chip, over its sockets: planned, carried out, made safe."""

import json
import re
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import yaml

from labctl.boards.daffodil.patterns import VERSION
from labctl.station import composition
from labctl.station.plan_warnings import warnings_of
from labctl.station.rehearse import rehearsed
from labctl.storage.journal import Journal
from labctl.storage.results import open_run
from labctl.terminal.progress import duration
from protocols.statistics import binomial_interval
from tests.e2e.conftest import EXAMPLES
from tests.waiting import PATIENCE

BENCH, CAMPAIGN = EXAMPLES / "bench-daffodil.yaml", EXAMPLES / "digits-one-chip.yaml"
SHAPE = {"kernels": 3, "n_rows": 14, "n_cols": 13}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """The example, for chips of 3 kernels of 14 x 13 cells."""
    file = yaml.safe_load(BENCH.read_text(encoding="utf-8"))
    path = tmp_path_factory.mktemp("bench") / "bench.yaml"
    path.write_text(yaml.safe_dump({**file, "body": {**file["body"], **SHAPE}}))
    return path


@pytest.fixture(scope="module")
def campaign(tmp_path_factory, few_solutions):
    """The example, with one such chip and the Wine data."""
    file = yaml.safe_load(CAMPAIGN.read_text(encoding="utf-8"))
    (die,) = file["dies"]
    file["dies"] = [{**die, "file": str(EXAMPLES / die["file"]), "change": {"geometry": SHAPE}}]
    survey, inference = file["stages"]
    inference["chip_inference"] |= {"solutions": str(few_solutions), "data": "wine"}
    del file["accept"]
    path = tmp_path_factory.mktemp("campaign") / "wine-one-chip.yaml"
    path.write_text(yaml.safe_dump({**file, "stages": [survey, inference]}))
    return path


@pytest.fixture
def die(tmp_path):
    """The die file of such a chip."""
    path = tmp_path / "die.yaml"
    content = yaml.safe_load((EXAMPLES / "dies" / "chip-32x25x25.yaml").read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**content, "geometry": {**content["geometry"], **SHAPE}}))
    return path


@pytest.fixture
def edited(tmp_path):
    """Return a function that writes the example with other options of the board or limits."""

    def write(**changes):
        file = yaml.safe_load(BENCH.read_text(encoding="utf-8"))
        for key, value in changes.items():
            file["limits" if key in file["limits"] else "body"][key] = value
        path = tmp_path / "edited.yaml"
        path.write_text(yaml.safe_dump(file))
        return path

    return write


def test_the_example_is_checked_and_changes_nothing(labctl):
    text = " ".join(labctl("check", BENCH, "--sim", "tcp").stdout.split())
    assert "a board of 32 kernels of 25 x 25; nothing is wired" in text
    assert "every line at rest, verified by the board: yes" in text


def test_the_example_on_a_wafer_is_checked_planned_and_switched_off(labctl):
    wafer = EXAMPLES / "bench-daffodil-wafer.yaml"
    text = " ".join(labctl("check", wafer, "--sim", "tcp").stdout.split())
    assert "its lines end at the needles of a prober" in text
    assert "chuck separated by its heights" in text
    night = EXAMPLES / "overnight-36-dies.yaml"
    plans = [json.loads(labctl("plan", night, "--bench", bench, "--json").stdout) for bench in (BENCH, wafer)]
    sockets, needles = (plan["total"]["time"] for plan in plans)
    assert sockets < needles < sockets + 36 * 2 * 0.2  # contact is proved behind both stages of each die
    assert "board: outputs verified off at 0 V" in labctl("off", wafer, "--sim", "tcp").stderr


def test_the_example_is_planned_by_the_times_of_the_board(labctl, edited):
    plan = json.loads(labctl("plan", CAMPAIGN, "--bench", BENCH, "--json").stdout)
    slower = json.loads(labctl("plan", CAMPAIGN, "--bench", edited(conversion="500 us"), "--json").stdout)
    assert 200 < plan["total"]["time"] < 2000
    assert slower["total"]["time"] > 1.5 * plan["total"]["time"]
    assert plan["total"]["events"] > plan["total"]["reads"] + 2 * plan["total"]["pulses"]
    assert 1e6 < plan["total"]["link"] < 3e7
    text = " ".join(labctl("plan", CAMPAIGN, "--bench", BENCH).stdout.split())
    assert "events, rests among them, and" in text
    total, document = plan["total"], " ".join(DOCUMENT.split())
    figures = f"{duration(total['time'])} for one chip, {total['reads']:,} reads and {total['pulses']:,} pulses"
    assert f"goes by the times of the bench file: {figures}" in document
    assert f"{total['bytes'] / 1e6:.0f} MB on disk, {total['events']:,} events" in document
    assert f"{total['link'] / 1e6:.1f} MB on the link" in document


def seconds_of(bench, **settings):
    """Return the planned seconds of the stages of the campaign, and the operations' counts."""
    named = {f"stages.1.chip_inference.readout.{key}": str(n) for key, n in settings.items() if key.endswith("_on")}
    if aperture := settings.get("aperture"):
        stages = ("0.survey", "0.survey.inference", "1.chip_inference.write_verify", "1.chip_inference.readout")
        named |= {f"stages.{stage}.aperture": aperture for stage in stages}
    _, (plan,) = rehearsed(composition.read(CAMPAIGN, named, None, bench, None))
    return [stage.time for stage in plan.stages]


DOCUMENT = (EXAMPLES.parent / "docs" / "daffodil-board.md").read_text(encoding="utf-8")
TIMES = {
    "the makers": {"settle": "372.5 ms"},
    "the example": {},
    "the shortest": {"settle": "6 us", "rest": "6 us", "conversion": "1 us", "dac_write": "1.5 us"},
}


@pytest.mark.parametrize("row", TIMES)
def test_the_hours_of_a_night_in_the_document_are_those_of_the_plan(row, edited):
    bench, more = edited(**TIMES[row]), {"aperture": "25 us"} if row == "the shortest" else {}
    survey, inference = seconds_of(bench, tune_on=640, **more)
    chip = survey + inference
    image = (chip - sum(seconds_of(bench, tune_on=640, test_on=60, **more))) / 300
    cells = next(line for line in DOCUMENT.splitlines() if line.startswith(f"| {row}")).split("|")[3:7]
    for text, seconds in zip(cells, (survey, chip, 36 * chip, image), strict=True):
        assert in_seconds(text) == pytest.approx(seconds, rel=0.02), text
    name = "375 ms" if row == "the makers" else row
    fitting = [line for line in DOCUMENT.splitlines() if line.startswith(f"| {name} |")][-1].split("|")[2:4]
    for text, dies in zip(fitting, (1, 36), strict=True):
        if images := re.match(r" ([\d,]+)(?: images)?, (\d\d\.\d) to (\d\d\.\d) %", text):
            number = int(images[1].replace(",", ""))
            assert number == pytest.approx(360 + (12 * 3600 / dies - chip) / image, rel=0.005)
            interval = 100 * binomial_interval(round(0.911 * number), number, method="wilson")
            assert [float(images[2]), float(images[3])] == pytest.approx(interval, abs=0.06)
        elif dies == 36:
            assert 36 * survey / 3 > 12 * 3600


def in_seconds(text):
    """Return the seconds of a time as a document has it, such as 2 h 38 min.

    >>> in_seconds("4 min 23 s"), in_seconds("53 ms")
    (263.0, 0.053)
    """
    units = {"h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+) (h|min|ms|s)\b", text))


def test_a_night_that_does_not_fit_its_budget_is_refused(labctl):
    budget = ("--set", "batch.budgets.time=5 min")
    done = labctl("plan", CAMPAIGN, "--bench", BENCH, *budget, expect=2)
    assert "batch.budgets.time: 5 min 0 s for the run, and die D1 alone takes 7 min 7 s" in " ".join(
        (done.stdout + done.stderr).split()
    )


def test_what_the_board_cannot_do_is_refused_by_the_plan(labctl, edited):
    gate = ("--set", "stages.0.survey.v_gate=3.3 V", "--set", "limits.v_gate=3.3 V")
    done = labctl("plan", CAMPAIGN, "--bench", edited(v_gate="3.3 V"), *gate, expect=2)
    assert "a gate at 3.3 V; the board's converters drive gates from -0.0008 to 3.2988 V" in " ".join(
        (done.stdout + done.stderr).split()
    )


def of_chips(path):
    """Return whether an example is a campaign whose dies are integrated chips."""
    file = yaml.safe_load(path.read_text(encoding="utf-8"))
    if "stages" not in file:
        return False
    dies = [file["wafer"]["die"]] if "wafer" in file else [die["file"] for die in file["dies"]]
    read = (yaml.safe_load((EXAMPLES / die).read_text(encoding="utf-8")) for die in dies)
    return any(die["geometry"]["kind"] == "1T1R" for die in read)


CHIPS = [path for path in sorted(EXAMPLES.glob("*.yaml")) if of_chips(path)]


def widths(settings):
    """Yield every pulse width of settings of stages, s."""
    for key, value in settings.items():
        if key == "width":
            yield value
        elif isinstance(value, dict):
            yield from widths(value)


@pytest.mark.parametrize("path", CHIPS, ids=lambda path: path.stem)
def test_every_campaign_of_chips_is_one_that_the_board_can_carry_out_as_it_stands(path):
    assert {"overnight-36-dies", "digits-one-chip"} <= {chip.stem for chip in CHIPS}
    spec = composition.read(path, {}, None, BENCH, None)
    spec, plans = rehearsed(spec.some([spec.subjects[0].name]))  # a board has one die
    assert warnings_of(spec, plans) == []
    asked = [width for stage in spec.stages for width in widths(stage.settings_data())]
    assert len(asked) >= len(spec.stages)
    clock = spec.bench.body.options.clock
    assert [round(width / clock) * clock for width in asked] == pytest.approx(asked, rel=1e-9)


@pytest.mark.slow
def test_a_campaign_runs_on_the_board_over_tcp(labctl, bench, campaign, tmp_path):
    labctl("run", campaign, "--bench", bench, "--sim", "tcp", "--out", tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert run.table("survey").rows == 3
    write = run.table("write").to_pandas()
    assert len(write) == 2
    assert (write["fidelity"] > 0.9).all()
    (sealed,) = (tmp_path / "run").rglob("D1*.h5")
    assert f"mtj-labctl,daffodil,70001,{VERSION}".encode() in sealed.read_bytes()


@pytest.mark.slow
def test_several_chips_are_exchanged_and_end_as_without_a_board(labctl, bench, campaign, tmp_path):
    file = yaml.safe_load(campaign.read_text())
    file["dies"] = [{**file["dies"][0], "name": f"D{number}"} for number in range(1, 4)]
    for reads in (file["stages"][0]["survey"]["inference"], file["stages"][1]["chip_inference"]["readout"]):
        reads["second_gate"] = {"v_gate": "3.29 V", "share": "8.5 %"}
    night = tmp_path / "night.yaml"
    night.write_text(yaml.safe_dump(file))
    labctl("run", night, "--out", tmp_path / "plain")
    labctl("run", night, "--bench", bench, "--sim", "tcp", "--out", tmp_path / "board")
    notes, states, accuracy, maps = {}, [], [], []
    for run in ("plain", "board"):
        for name in ("D1", "D2", "D3"):
            with Journal.open(tmp_path / run / "dies" / name) as journal:
                events = {event.kind: event.body for event in journal.events()}
            notes[run, name] = events["approached"]
            states.append(events["stage_ended"]["truth"]["state"])
        accuracy += list(open_run(tmp_path / run).table("accuracy").to_pandas()["accuracy_test"])
        maps.append(open_run(tmp_path / run).table("inference_map")["g_p"])
    assert [notes["board", name]["die_id"]["name"] for name in ("D1", "D2", "D3")] == ["D1", "D2", "D3"]
    assert all(np.array_equal(*pair) for pair in zip(states[:3], states[3:], strict=True))
    # the same cells, but for the noise of readings and the steps of the converters, 6 uS each
    assert np.abs(maps[0] - maps[1]).max() < 12e-6 < np.median(maps[0]) / 10
    half = len(accuracy) // 2
    assert np.mean(accuracy[:half]) == pytest.approx(np.mean(accuracy[half:]), abs=0.03)


def test_a_cell_is_read_and_pulsed_by_hand_at_a_gate_that_the_board_reaches(labctl, bench, die, tmp_path):
    here = ("--bench", bench, "--sim", "tcp", "--die", die, "--cell", "0,2,7")
    done = labctl("read", *here, "--v-gate", "3.3 V", "--out", tmp_path / "refused", expect=2)
    assert "gate voltage: 3.3 V asked for, the limit is 3.29 V" in " ".join((done.stdout + done.stderr).split())
    assert "reads" in labctl("read", *here, "--out", tmp_path / "read").stdout
    words = ("--to", "P", "--voltage", "900 mV", "--out", tmp_path / "pulse")
    assert "reads P" in labctl("pulse", *here, *words).stdout


@pytest.fixture
def served(bench, die, tmp_path):
    """Serve the board; return its bench file with its address, and the address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "labctl", "twin", bench, "--die", die], stdout=subprocess.PIPE, text=True
    )
    resource = json.loads(process.stdout.readline())["resource"]
    file = yaml.safe_load(bench.read_text())
    path = tmp_path / "bench.yaml"
    path.write_text(yaml.safe_dump({**file, "body": {**file["body"], "resource": resource}}))
    yield path, int(resource.split("::")[2])
    process.send_signal(signal.SIGINT if sys.platform != "win32" else signal.SIGTERM)
    process.communicate(timeout=PATIENCE)


def test_off_makes_a_board_safe_that_somebody_else_has(labctl_process, served):
    path, port = served
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as other:
        lines = other.makefile("rw", newline="\n")

        def ask(line):
            lines.write(line + "\n")
            lines.flush()
            return lines.readline().rstrip("\n")

        ask(f"TAKE {json.dumps({'version': VERSION, 'client': 'a stranger', 'lease': 60.0})}")
        done = labctl_process("check", path, "--json", expect=3)
        assert "client 'a stranger' has the board" in done.stdout
        done = labctl_process("off", path, "--json")
        assert json.loads(done.stdout)["safe"] is True
        assert json.loads(ask("STATE?").removeprefix("STATE "))["holder"] == ""
    labctl_process("off", "--release", path)
    assert json.loads(labctl_process("check", path, "--json").stdout)["exit"] == 0
