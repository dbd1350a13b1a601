"""The bench on the command line: check, read, pulse, map, off and twin, as the person standing there types them."""

import io
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from instruments.bench_file import read_bench
from labctl.cli.main import main
from labctl.storage.bench_locks import bench_lock
from labctl.storage.latch import release_latch, set_latch
from labctl.storage.results import open_run
from tests.waiting import PATIENCE

EXAMPLES = Path(__file__).parents[2] / "examples"
BENCH, DIE = EXAMPLES / "bench-two-arrays.yaml", EXAMPLES / "dies" / "ideal-15x15.yaml"
HERE = ("--bench", BENCH, "--die", DIE, "--sim", "bytes")
TWO_NEEDLES = EXAMPLES / "bench-two-needles.yaml"
ONE_CELL = ("--bench", TWO_NEEDLES, "--die", EXAMPLES / "dies" / "ideal-1x1.yaml")


@pytest.mark.parametrize("sim", ["bytes", "tcp"])
def test_check_tells_who_is_there_and_what_they_do(labctl, sim):
    done = labctl("check", BENCH, "--sim", sim, "--json")
    said = json.loads(done.stdout)
    assert said["exit"] == 0
    found = {one["name"]: one for one in said["instruments"]}
    assert list(found) == ["smu1", "smu2", "matrix", "prober"]
    assert "Model 2602B" in found["smu1"]["identity"]
    assert any("smua: output off, level 0 V" in line for line in found["smu1"]["state"])
    assert any("output enable asserted, ignored" in line for line in found["smu2"]["state"])
    closed, cards = found["matrix"]["state"]
    assert closed == "closed: none"
    assert cards.startswith("cards in slots 1: 7174A,8x12")
    assert "6: none" in cards
    assert found["smu1"]["serial"] == "4000001"
    assert any("separated" in line and "overtravel" in line for line in found["prober"]["state"])
    assert "no conflict in the wiring" in done.stderr


def test_check_goes_on_when_an_instrument_does_not_answer(labctl, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    lost = tmp_path / "lost.yaml"
    text = BENCH.read_text()
    for number in (11, 12, 20):
        text = text.replace(f"TCPIP::192.0.2.{number}::5025::SOCKET", f"TCPIP::127.0.0.1::{port}::{number}::SOCKET")
    text = text.replace("TCPIP::192.0.2.30::35555::SOCKET", f"TCPIP::127.0.0.1::{port}::SOCKET")
    lost.write_text(text.replace("SOCKET\n", "SOCKET\n    patience: 1 s\n"))
    done = labctl("check", lost, "--json", expect=3)
    said = json.loads(done.stdout)
    assert [bool(one["wrong"]) for one in said["instruments"]] == [True] * 4
    labctl("off", lost, expect=6)


def test_a_cell_is_read_and_pulsed_and_all_of_it_is_recorded(labctl, tmp_path):
    read = json.loads(labctl("read", *HERE, "--cell", "1,3,14", "--out", tmp_path / "read", "--json").stdout)
    (found,) = read["rows"]
    assert (found["kernel"], found["row"], found["col"], found["state"], found["flag"]) == (1, 3, 14, "ap", 0)
    done = labctl(
        "pulse", *HERE, "--cell", "1,3,14", "--to", "P", "--voltage", "450 mV", "--out", tmp_path / "p", "--json"
    )
    (found,) = json.loads(done.stdout)["rows"]
    assert (found["target"], found["state"], found["verified"], found["voltage"]) == (True, "p", True, 0.45)
    assert "towards P: verified" in done.stderr
    assert "outputs off" in done.stderr
    die = open_run(tmp_path / "p").die("die")
    assert die.sealed
    assert [operation.kind for operation in die.operations()] == ["pulse"]
    assert die.table("cell_pulse")["conductance"][0] == found["conductance"]
    assert (tmp_path / "p" / "files" / "00-bench-two-arrays.yaml").read_text() == BENCH.read_text()


def test_structures_that_do_not_conduct_are_told_with_what_is_read(labctl, tmp_path):
    text = ONE_CELL[3].read_text()
    for said, simulation in ((False, "{ideal: true}"), (True, "{defects: {open: 1.0}}")):
        die = tmp_path / "die.yaml"
        die.write_text(text.replace("{ideal: true}", simulation))
        done = labctl("read", *ONE_CELL[:3], die, "--cell", "0,0,0", "--sim", "bytes", cwd=tmp_path)
        words = " ".join(done.stderr.split()), " ".join(done.stdout.split())
        assert ("no contact: top-bottom open" in words[0]) == said
        assert ("is no proof that the needles touch" in words[0]) == said
        assert ("reads OPEN, and not AP" in words[1]) == said


def test_a_map_shows_every_cell(labctl, tmp_path):
    done = labctl("map", *HERE, "--kernel", "1", "--out", tmp_path / "map", "--json")
    (found,) = json.loads(done.stdout)["rows"]
    assert [len(row) for row in found["conductance"]] == [15] * 15
    assert "kernel 1, uS at 100 mV" in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.strip().split(" ")[0].isdigit()]) == 15


PULSE = ("--cell", "0,3,4", "--to", "P", "--voltage")
REFUSED = {
    "beyond the bench's limit": (("pulse", *HERE, *PULSE, "1.2 V"), "1.2 V asked for, the limit is 1 V"),
    "a bare number": (("pulse", *HERE, *PULSE, "450"), "--voltage: '450' has no unit"),
    "shorter than the source can": (("pulse", *HERE, *PULSE, "450 mV", "--width", "50 ns"), "--width '50 ns' "),
    "a cell that is not there": (("read", *HERE, "--cell", "0,15,4"), "refused: --cell 0,15,4 --v-read '100 mV' "),
    "no cell": (("read", *HERE, "--cell", "3;4"), "expected kernel,row,column"),
    "a third state": (("pulse", *HERE, "--cell", "0,3,4", "--to", "Q", "--voltage", "1 mV"), "expected P or AP"),
    "a scheme that is none": (
        ("pulse", *HERE, *PULSE, "450 mV", "--scheme", "full"),
        "--scheme full: expected 'half', 'third' or 'grounded'",
    ),
    "a voltage with a sign": (("pulse", *HERE, *PULSE, "-450 mV"), "--voltage -450 mV: expected more than 0"),
    "another transport": (("read", *HERE[:-1], "gpib", "--cell", "0,3,4"), "expected bytes or tcp"),
    "a die of another shape": (
        ("read", "--bench", EXAMPLES / "bench-2600b-707b-sentio.yaml", *HERE[2:], "--cell", "0,3,4"),
        "the wiring is for 1 kernel of 15 x 15",
    ),
}


@pytest.mark.parametrize(("command", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_is_refused_before_anything_is_made(labctl, tmp_path, command, said):
    done = labctl(*command, cwd=tmp_path, expect=2)
    assert said in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_off_makes_safe_and_says_so(labctl):
    done = labctl("off", BENCH, "--sim", "tcp", "--json")
    assert json.loads(done.stdout)["safe"] is True


def test_a_twin_serves_what_a_bench_file_can_be_pointed_at(labctl, tmp_path):
    """The real way, over sockets of this machine: check, pulse, off; no line of it knows that it is not a bench."""
    served = subprocess.Popen(
        [sys.executable, "-m", "labctl", "twin", BENCH, "--die", DIE, "--needles", "down"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = [json.loads(served.stdout.readline()) for _ in range(4)]
        assert [line["name"] for line in lines] == ["smu1", "smu2", "matrix", "prober"]
        assert all(line["hislip"].endswith("::INSTR") for line in lines)
        text = BENCH.read_text()
        for line, (number, port) in zip(lines, ((11, 5025), (12, 5025), (20, 5025), (30, 35555)), strict=True):
            text = text.replace(f"TCPIP::192.0.2.{number}::{port}::SOCKET", line["resource"])
        bench = tmp_path / "bench.yaml"
        bench.write_text(text)
        labctl("check", bench)
        pulsed = ("--cell", "0,2,7", "--to", "P", "--voltage", "450 mV", "--json")
        done = labctl("pulse", "--bench", bench, "--die", DIE, *pulsed, cwd=tmp_path)
        assert json.loads(done.stdout)["rows"][0]["verified"] is True
        done = labctl("read", "--bench", bench, "--die", DIE, "--cell", "0,2,7", "--json", cwd=tmp_path)
        assert json.loads(done.stdout)["rows"][0]["state"] == "p"
        labctl("off", bench)
    finally:
        served.send_signal(signal.SIGINT if sys.platform != "win32" else signal.SIGTERM)
        _, said = served.communicate(timeout=PATIENCE)
    assert served.returncode == 0
    assert "0 hot switches, 0 moves in contact" in " ".join(said.split())


def test_serial_numbers_are_pinned_into_the_file_and_another_one_is_refused(labctl, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "labctl", "twin", TWO_NEEDLES], stdout=subprocess.PIPE, text=True
    ) as served:
        resource = json.loads(served.stdout.readline())["resource"]
        bench = tmp_path / "bench.yaml"
        before = TWO_NEEDLES.read_text().replace("TCPIP::192.0.2.11::5025::SOCKET", resource)
        bench.write_text(before)
        assert "--pin --sim bytes" in labctl("check", bench, "--pin", "--sim", "bytes", expect=2).stderr
        done = labctl("check", bench, "--pin")
        assert f"smu is pinned to 4000001 in {bench}" in " ".join(done.stdout.split())
        pinned = bench.read_text()
        assert pinned.replace('    serial: "4000001"\n', "") == before != pinned
        assert "smu is pinned to 4000001 already" in labctl("check", bench, "--pin").stdout
        labctl("read", "--bench", bench, *ONE_CELL[2:], "--cell", "0,0,0", cwd=tmp_path)
        bench.write_text(pinned.replace("4000001", "4000002"))
        done = labctl("check", bench, expect=3)
        assert "LOOK: the bench file pins serial number 4000002, and 4000001 answers" in done.stdout
        labctl("check", bench, "--pin", expect=2)
        done = labctl("read", "--bench", bench, *ONE_CELL[2:], "--cell", "0,0,0", cwd=tmp_path, expect=2)
        assert "other instruments than its file says: smu: the bench file pins" in " ".join(done.stderr.split())
        labctl("off", bench)
        served.terminate()


def test_needles_that_are_up_stay_up_and_nothing_is_energised(labctl, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "labctl", "twin", BENCH, "--die", DIE], stdout=subprocess.PIPE, text=True
    ) as served:
        text = BENCH.read_text()
        for number, port in ((11, 5025), (12, 5025), (20, 5025), (30, 35555)):
            line = json.loads(served.stdout.readline())
            text = text.replace(f"TCPIP::192.0.2.{number}::{port}::SOCKET", line["resource"])
        bench = tmp_path / "bench.yaml"
        bench.write_text(text)
        done = labctl("read", "--bench", bench, "--die", DIE, "--cell", "0,2,7", cwd=tmp_path, expect=1)
        served.terminate()
    assert "the needles are not in contact" in " ".join(done.stdout.split())


@pytest.mark.parametrize("sim", ["bytes", "tcp"])
def test_two_needles_on_one_cell_are_a_bench_without_a_matrix_or_a_prober(labctl, tmp_path, sim):
    done = labctl("check", TWO_NEEDLES, "--sim", sim)
    assert "1 channel, top by wire on smu.smua, bottom by wire on ground; 2 pads; 1 kernel of 1 x 1" in done.stderr + (
        done.stdout
    )
    pulsed = ("--cell", "0,0,0", "--to", "P", "--voltage", "500 mV", "--json", "--out", tmp_path / "pulse")
    (cell,) = json.loads(labctl("pulse", *ONE_CELL, "--sim", sim, *pulsed).stdout)["rows"]
    assert (cell["state"], cell["verified"]) == ("p", True)
    die = open_run(tmp_path / "pulse").die("die")
    approached = next(event for event in die.events() if event.kind == "approached")
    (resistance,) = approached.body["contact_resistance"].values()
    assert 1e3 < resistance < 50e3
    done = labctl("off", TWO_NEEDLES, "--sim", sim, "--json")
    assert json.loads(done.stdout)["text"] == "smu: outputs verified off at 0 V"


def test_the_first_day_is_a_table_of_what_holds_and_what_is_left_to_a_person(labctl):
    done = labctl("check", TWO_NEEDLES, "--sim", "tcp", "--first-day", "--json")
    outcome = json.loads(done.stdout)
    verdicts = {(one["id"], one["instrument"]): one["verdict"] for one in outcome["assumptions"]}
    assert outcome["exit"] == 0
    assert verdicts["longest-line", "smu"] == verdicts["message-latency", "smu"] == "holds"
    assert verdicts["noise", "smu"] == "not checked here"
    assert not any(one.startswith("channel.") for one, _ in verdicts)
    assert "steps are those of docs/first-day-at-the-bench.md" in done.stderr


def test_an_assumption_that_does_not_hold_ends_the_first_day_with_3(labctl, tmp_path):
    odd = tmp_path / "odd.yaml"
    odd.write_text(TWO_NEEDLES.read_text() + "\ntiming:\n  line_frequency: 400\n")  # the twin's mains have it too
    done = labctl("check", odd, "--sim", "bytes", "--first-day", expect=3)
    assert "does not hold: step 2.9" in done.stdout
    assert "1 does not hold" in done.stdout


def test_nothing_is_set_beside_a_run_that_holds_the_bench(labctl):
    with bench_lock(read_bench(TWO_NEEDLES).value, "a run"):
        done = labctl("check", TWO_NEEDLES, "--first-day", "--settings", expect=2)
    assert "a run" in done.stderr


def test_what_sets_something_is_part_of_the_first_day_alone(labctl):
    assert "--settings without --first-day" in labctl("check", TWO_NEEDLES, "--settings", expect=2).stderr


ENERGISE = ("check", BENCH, "--first-day", "--energise")


def test_the_checks_with_outputs_on_say_what_they_do_and_what_holds(labctl):
    done = labctl(*ENERGISE, "--sim", "bytes", "--yes", "--json")
    said = json.loads(done.stdout)
    assert "one channel at a time, at 100 mV behind 1 uA at most" in done.stderr
    assert "every relay open and the needles up, and ends at 0 V and off" in done.stderr
    of = {(one["id"], one["instrument"]): one for one in said["assumptions"]}
    assert of["noise", "smu2.smub"]["verdict"] == "holds"
    assert of["output-relay", "smu1.smua"]["reply"] == "0.001 s"
    assert of["source-settling", "smu1.smua"]["step"] == "7.3"
    assert said["exit"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*ENERGISE, "--sim", "bytes"), "there is no terminal; expected --yes"),
        (ENERGISE, "there is no terminal; expected --yes"),
        (("check", BENCH, "--energise", "--yes"), "--energise without --first-day"),
        (("check", BENCH, "--first-day", "--yes"), "--yes without --energise"),
        (("check", EXAMPLES / "bench-daffodil.yaml", *ENERGISE[2:], "--yes"), "has a board"),
    ],
)
def test_no_output_goes_on_for_a_check_without_a_yes(labctl, words, message):
    assert message in labctl(*words, expect=2).stderr


class Terminal(io.StringIO):
    """A terminal at which somebody types."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("typed", "code"), [("n\n", 2), ("y\n", 0), ("", 4)])
def test_at_a_terminal_it_is_asked_before_an_output_goes_on(monkeypatch, capsys, typed, code):
    monkeypatch.setattr(sys, "argv", ["labctl", *map(str, ENERGISE), "--sim", "bytes"])
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    with pytest.raises(SystemExit) as end:
        main()
    heard = capsys.readouterr()
    assert (end.value.code or 0) == code, heard
    assert "may outputs go on?" in heard.err
    assert ("rms" in heard.out or "ppm of range" in heard.out) == (code == 0)


def test_a_bench_that_is_switched_off_or_in_use_gets_no_output_for_a_check(labctl, tmp_path):
    text = BENCH.read_text(encoding="utf-8")
    path = tmp_path / "bench.yaml"
    path.write_text(text, encoding="utf-8")
    bench = read_bench(path).value
    words = ("check", path, "--first-day", "--energise", "--yes")
    with bench_lock(bench, "labctl run night.yaml"):
        assert "labctl run night.yaml" in labctl(*words, expect=2).stderr
    set_latch(bench, "hands on the needles")
    try:
        assert "hands on the needles" in labctl(*words, expect=2).stderr
    finally:
        release_latch(bench)
