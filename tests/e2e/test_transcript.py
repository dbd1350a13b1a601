"""A session that was recorded at a bench becomes a test of the drivers by one command."""

import importlib.util
import json

import pytest

from instruments import tsp
from instruments.transcript import TranscriptError
from tests.e2e.test_bench_cli import BENCH, EXAMPLES, ONE_CELL, TWO_NEEDLES


def module_of(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recorded(labctl, folder, bench, *options):
    session, test = folder / "session.jsonl", folder / "test_session.py"
    labctl("check", bench, "--sim", "bytes", "--record", session, *options)
    labctl("transcript", session)
    return session, module_of(test)


def test_a_recorded_first_day_is_a_test_that_the_drivers_of_today_pass(labctl, tmp_path):
    session, module = recorded(labctl, tmp_path, BENCH, "--first-day", "--settings")
    head, *messages = map(json.loads, session.read_text().splitlines())
    assert (head["session"], head["options"]["first_day"], head["simulated"]) == (2, True, True)
    assert {one["instrument"] for one in messages} == {"smu1", "smu2", "matrix", "prober"}
    times = [one["s"] for one in messages]
    assert times == sorted(times)
    assert times[-1] > 0
    assert module.EXCHANGES["smu1"][0][0] == "*IDN?"
    assert module.EXCHANGES["prober"][-1] == ("*LOCAL", None)
    replay = tmp_path / "replay"
    replay.mkdir()
    module.test_the_drivers_of_today_send_what_was_recorded(replay)


HAND = ("--bench", BENCH, "--die", EXAMPLES / "dies" / "passive-15x15.yaml", "--sim", "bytes", "--seed", 2)
COMMANDS = {
    "read": ("read", *HAND, "--cell", "0,3,4", "--out", "run"),
    "pulse": ("pulse", *HAND, "--cell", "1,2,3", "--to", "AP", "--voltage", "450 mV", "--out", "run"),
    "map": ("map", *HAND, "--kernel", 1, "--out", "run"),
    "off": ("off", BENCH, "--sim", "bytes"),
    "needles": ("read", *ONE_CELL, "--sim", "bytes", "--cell", "0,0,0", "--out", "run"),
    "energise": ("check", TWO_NEEDLES, "--sim", "bytes", "--first-day", "--energise", "--yes"),
    "2400": ("check", EXAMPLES / "bench-2400-two-needles.yaml", "--sim", "bytes", "--first-day", "--energise", "--yes"),
}


@pytest.fixture(scope="module", params=COMMANDS)
def by_hand(labctl, request, tmp_path_factory):
    """A session of each command that can be recorded, as a test."""
    folder = tmp_path_factory.mktemp(request.param)
    words = [folder / "run" if word == "run" else word for word in COMMANDS[request.param]]
    labctl(*words, "--record", folder / "session.jsonl")
    labctl("transcript", folder / "session.jsonl")
    return folder / "test_session.py"


def test_any_command_that_opens_a_bench_is_recorded_and_replayed(by_hand, tmp_path):
    module = module_of(by_hand)
    assert sum(map(len, module.EXCHANGES.values())) > 2
    module.test_the_drivers_of_today_send_what_was_recorded(tmp_path)


def test_one_message_more_in_the_recording_of_any_command_fails(by_hand, tmp_path):
    module = module_of(by_hand)
    name = next(iter(module.EXCHANGES))
    module.EXCHANGES[name].append(("beep()", None))
    with pytest.raises(TranscriptError, match=f"{name}: .*"):
        module.test_the_drivers_of_today_send_what_was_recorded(tmp_path)


def test_a_recording_that_cannot_be_made_keeps_nothing_from_being_switched_off(labctl, tmp_path):
    here = tmp_path / "here.jsonl"
    here.write_text("")
    done = labctl("off", BENCH, "--sim", "bytes", "--record", here)
    assert "not recorded: --record" in done.stderr
    assert "outputs verified off at 0 V" in done.stderr
    assert "expected one of the two" in labctl("off", BENCH, "--release", "--record", here, expect=2).stderr


def test_what_is_not_told_by_lines_of_text_is_not_recorded(labctl, tmp_path):
    board = ("--bench", EXAMPLES / "bench-daffodil.yaml", "--die", EXAMPLES / "dies" / "chip-32x25x25.yaml")
    new = tmp_path / "new.jsonl"
    done = labctl("read", *board, "--sim", "bytes", "--cell", "0,0,0", "--v-gate", "3.2 V", "--record", new, expect=2)
    assert "not told by lines of text over a wire" in done.stderr
    assert not new.exists()


@pytest.fixture
def session(labctl, tmp_path):
    return recorded(labctl, tmp_path, TWO_NEEDLES)[1]


def test_a_driver_that_asks_otherwise_fails_it(session, tmp_path, monkeypatch):
    monkeypatch.setattr(tsp, "ERROR_QUEUE", tsp.Queue(following="errorqueue.next()"))
    with pytest.raises(TranscriptError, match=r"smu: expected .*got 'print\(errorqueue.next\(\)\)'"):
        session.test_the_drivers_of_today_send_what_was_recorded(tmp_path)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda said: said.append(("beep()", None)), "1 messages left; the first, never sent: 'beep()'"),
        (lambda said: said.pop(), "nothing more was expected"),
        (lambda said: said.insert(0, ("a", "1")), "expected 'a', got"),
        (lambda said: said.__setitem__(0, (said[0][0], said[0][1] + "\nmore")), "'more' was not read before"),
    ],
)
def test_what_is_left_over_or_comes_on_top_fails_it(session, tmp_path, change, fault):
    change(session.EXCHANGES["smu"])
    with pytest.raises(TranscriptError) as error:
        session.test_the_drivers_of_today_send_what_was_recorded(tmp_path)
    assert fault in str(error.value)


def test_nothing_is_written_over_and_nothing_else_is_read(labctl, tmp_path):
    here = tmp_path / "here.jsonl"
    here.write_text('{"session": 1}\n')
    done = labctl("check", TWO_NEEDLES, "--sim", "bytes", "--record", here, expect=2)
    assert "expected the name of a new file" in done.stderr
    assert "is a session of version 1; expected 2" in labctl("transcript", here, expect=2).stderr
    secret = tmp_path / "secret.yaml"
    secret.write_text(f"{TWO_NEEDLES.read_text()}\n# https://hooks.example.org/services/T0\n")
    done = labctl("check", secret, "--sim", "bytes", "--record", tmp_path / "new.jsonl", expect=2)
    assert "found the address of a webhook, expected none: --record keeps the whole file" in done.stderr
    assert not (tmp_path / "new.jsonl").exists()
    here.write_text("")
    assert "no recorded session" in labctl("transcript", here, expect=2).stderr
