"""Messages arrive, are tried again, are given up, and never stand in the way of a run."""

import json
import os
import socket
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, repeat

import pytest
from pydantic import ValidationError

from labctl import files
from labctl.batch import notifications as module
from labctl.batch.notifications import Notifier
from labctl.config.notify import Notify
from labctl.core.errors import BenchError

ABOUT = {"run": "W12", "folder": "runs/w12"}
PATIENCE = 20.0


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def server(*answers, hang=None, port=0):
    """Yield the address of a server, and what was posted to it: headers and body.

    Args:
        answers: status codes in order, the last for ever.
        hang: an event for which every answer waits.
    """
    received, codes = [], chain(answers, repeat(answers[-1] if answers else 200))

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((dict(self.headers), json.loads(body)))
            if hang is not None:
                hang.wait()
                return
            self.send_response(next(codes))
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_):
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", port), Answer)
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}/hooks/secret", received
    finally:
        if hang is not None:
            hang.set()
        listening.shutdown()
        thread.join()
        listening.server_close()


def until(true):
    """Wait until `true` returns something true."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def notifier(config, **more):
    """Return a notifier that tries again at once, and the list of what it reports, with the thread it was told in."""
    reported = []

    def report(event, text):
        assert event == "notify"
        reported.append((text, threading.current_thread()))

    return Notifier(config, ABOUT, report, back_off=more.pop("back_off", 0.01), **more), reported


def command(tmp_path, body, *arguments):
    """Return the command that runs a Python program, and the folder it works in."""
    program = tmp_path / "hook.py"
    program.write_text(
        f"import json, os, pathlib, subprocess, sys, time\nhere = pathlib.Path(__file__).parent\n{body}\n"
    )
    return (sys.executable, str(program), *arguments)


# the webhook


def test_a_message_is_posted_as_json_with_all_that_is_known_of_it():
    with server(200) as (address, received):
        sending, reported = notifier(Notify(webhook=address))
        sending.send("alarm", "no contact µ", die="D17", exit_code=None, tries=3)
        sending.send("end", "35 of 36 dies are good", exit_code=1)
        assert sending.close(PATIENCE) == 0
        assert sending.delivered == 2
    (headers, first), (_, last) = received
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"] == "mtj-labctl"
    assert first.pop("utc").endswith("+00:00")
    assert first == {
        "event": "alarm",
        "text": "W12, D17: no contact µ",
        "run": "W12",
        "folder": "runs/w12",
        "die": "D17",
        "exit_code": None,
        "host": socket.gethostname(),
        "tries": 3,
    }
    assert (last["text"], last["die"], last["exit_code"]) == ("W12: 35 of 36 dies are good", "", 1)
    assert reported == []


def test_a_server_in_trouble_is_tried_again_until_it_takes_the_message():
    with server(500, 503, 429, 200) as (address, received):
        sending, reported = notifier(Notify(webhook=address))
        sending.send("alarm", "one")
        sending.send("alarm", "two")
        assert sending.close(PATIENCE) == 0
    assert [body["text"] for _, body in received] == ["W12: one"] * 4 + ["W12: two"]
    assert reported == []


@pytest.mark.parametrize(("code", "posts"), [(500, 3), (404, 1), (302, 1), (307, 1)])
def test_a_message_that_is_not_taken_is_given_up_and_reported_to_who_sends(code, posts):
    with server(code) as (address, received):
        sending, reported = notifier(Notify(webhook=address), tries=3)
        sending.send("stop", "three dies without contact")
        assert sending.close(PATIENCE) == sending.failed == 1
        assert len(received) == posts
    ((text, thread),) = reported
    assert text.startswith(f"webhook at 127.0.0.1: the message 'stop' was not delivered: it answered {code} ")
    assert f"(try {posts})" in text
    assert "secret" not in text
    assert thread is threading.main_thread()


def test_a_server_that_is_gone_is_tried_until_it_is_back():
    with server(200) as (address, _):
        port = int(address.split(":")[2].split("/")[0])
    sending, reported = notifier(Notify(webhook=address), tries=10**6)
    sending.send("alarm", "is anybody there")
    until(lambda: "it cannot be reached: " in sending._receivers[0]._trouble)
    with server(200, port=port) as (_, received):
        assert sending.close(PATIENCE) == 0
    assert [body["text"] for _, body in received] == ["W12: is anybody there"]
    assert reported == []


def test_a_server_that_stays_away_is_told_of_when_the_run_ends():
    with server(200) as (address, _):
        pass
    sending, reported = notifier(Notify(webhook=address), tries=10**6)
    sending.send("alarm", "is anybody there")
    sending.send("end", "good night")
    until(lambda: sending._receivers[0]._trouble)
    assert sending.close(0.1) == 2
    assert all("it cannot be reached: " in text for text, _ in reported)


def test_a_server_that_comes_back_gets_what_was_queued(monkeypatch):
    taken, tried = [], threading.Event()

    def deliver(message):
        if not tried.is_set():
            tried.set()
            raise module._Failed("gone")
        taken.append(message["text"])

    monkeypatch.setattr(module, "_webhook", lambda address, timeout: deliver)
    sending, _ = notifier(Notify(webhook="http://lab"))
    for text in "abc":
        sending.send("alarm", text)
    assert tried.wait(PATIENCE)
    assert sending.close(PATIENCE) == 0
    assert taken == ["W12: a", "W12: b", "W12: c"]


def test_a_server_that_hangs_holds_nobody_up():
    hang = threading.Event()
    with server(hang=hang) as (address, received):
        sending, reported = notifier(Notify(webhook=address, timeout=60.0))
        start = time.monotonic()
        for number in range(50):
            sending.send("alarm", f"{number}")
        sent = time.monotonic() - start
        assert sending.close(0.1) == 50
        assert max(sent, time.monotonic() - start) < 30
        assert len(received) <= 1
    assert len(reported) == 50
    assert "the run has ended" in reported[0][0]


def test_a_server_that_hangs_is_left_when_the_time_is_over():
    with server(hang=threading.Event()) as (address, _):
        sending, reported = notifier(Notify(webhook=address, timeout=0.05), tries=2)
        sending.send("alarm", "x")
        assert sending.close(PATIENCE) == 1
    assert "it does not answer: timed out (try 2)" in reported[0][0]


def test_waits_grow_and_the_end_of_a_run_shortens_them(monkeypatch):
    waits = []

    def rest(self, wait):
        waits.append(wait)
        return True

    monkeypatch.setattr(module._Receiver, "_rest", rest)
    with server(500) as (address, _):
        sending, _ = notifier(Notify(webhook=address), back_off=2.0)
        sending.send("alarm", "x")
        assert sending.close(PATIENCE) == 1
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_a_run_that_ends_does_not_wait_for_the_next_try():
    with server(500, 200) as (address, received):
        sending, _ = notifier(Notify(webhook=address), back_off=600.0)
        sending.send("end", "x")
        until(lambda: received)
        assert sending.close(PATIENCE) == 0
    assert len(received) == 2


def test_too_many_messages_push_out_the_oldest(monkeypatch):
    monkeypatch.setattr(module, "QUEUE", 3)
    busy, go, taken = threading.Event(), threading.Event(), []

    def deliver(message):
        busy.set()
        go.wait()
        taken.append(message["text"])

    monkeypatch.setattr(module, "_webhook", lambda address, timeout: deliver)
    sending, reported = notifier(Notify(webhook="http://lab"))
    sending.send("alarm", "under way")
    busy.wait()
    for text in "abcde":
        sending.send("alarm", text)
    go.set()
    assert sending.close(PATIENCE) == 2
    assert taken == ["W12: under way", "W12: c", "W12: d", "W12: e"]
    assert "more than 3 messages were waiting" in reported[0][0]


def test_a_bug_in_a_receiver_costs_its_message_only(monkeypatch):
    def deliver(message):
        if message["text"].endswith("a"):
            raise ZeroDivisionError("a bug")

    monkeypatch.setattr(module, "_webhook", lambda address, timeout: deliver)
    sending, reported = notifier(Notify(webhook="http://lab"))
    sending.send("alarm", "a")
    sending.send("alarm", "b")
    assert (sending.close(PATIENCE), sending.delivered) == (1, 1)
    assert "ZeroDivisionError" in reported[0][0]


# the command


def test_a_command_gets_the_message_and_its_text(tmp_path):
    body = """
(here / "got.json").write_text(sys.stdin.read())
(here / "env.json").write_text(json.dumps([os.environ["LABCTL_EVENT"], os.environ["LABCTL_TEXT"], sys.argv[1:]]))
"""
    sending, reported = notifier(Notify(command=command(tmp_path, body, "--to", "me & you")))
    sending.send("alarm", "50 % of D3\0", die="D3", figures={"fidelity": 0.5})
    assert sending.close(PATIENCE) == 0
    assert reported == []
    got = json.loads((tmp_path / "got.json").read_text())
    assert (got["event"], got["die"], got["figures"]) == ("alarm", "D3", {"fidelity": 0.5})
    assert json.loads((tmp_path / "env.json").read_text()) == ["alarm", "W12, D3: 50 % of D3", ["--to", "me & you"]]


def test_a_command_that_fails_is_tried_again_and_its_last_words_are_told(tmp_path):
    body = """
with (here / "tries").open("a") as file: file.write("x")
print("no route to mail", file=sys.stderr)
sys.exit(0 if len((here / "tries").read_text()) == 3 else 7)
"""
    sending, _ = notifier(Notify(command=command(tmp_path, body)))
    sending.send("end", "x")
    assert sending.close(PATIENCE) == 0
    assert (tmp_path / "tries").read_text() == "xxx"
    sending, reported = notifier(Notify(command=command(tmp_path, body)), tries=2)
    sending.send("end", "x")
    assert sending.close(PATIENCE) == 1
    assert "the message 'end' was not delivered: exit code 7: no route to mail (try 2)" in reported[0][0]


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path):
    body = """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
(here / "part").write_text(str(child.pid))
os.replace(here / "part", here / "child")
time.sleep(600)
"""
    sending, reported = notifier(Notify(command=command(tmp_path, body), timeout=2.0), tries=1)
    sending.send("alarm", "x")
    assert sending.close(PATIENCE) == 1
    assert "it did not end within 2 s (try 1)" in reported[0][0]
    if os.name == "posix":
        child, end = int((tmp_path / "child").read_text()), time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                os.kill(child, 0)
            except ProcessLookupError:
                return
            time.sleep(0.01)
        raise AssertionError("what the command had started lives on")


def test_a_command_that_reads_nothing_and_leaves_something_behind_has_done_its_part(tmp_path):
    body = """
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(2)"])
"""
    sending, reported = notifier(Notify(command=command(tmp_path, body)))
    sending.send("alarm", "x" * 1_000_000)
    assert sending.close(PATIENCE) == 0, reported


def test_a_command_that_is_not_there_is_known_before_the_night_and_given_up_during_it(tmp_path):
    config = Notify(command=(str(tmp_path / "none"),))
    with pytest.raises(BenchError, match="none' is not there"):
        config.require_command()
    sending, reported = notifier(config)
    sending.send("alarm", "x")
    assert sending.close(PATIENCE) == 1
    assert "it cannot be started" in reported[0][0]
    Notify(command=(sys.executable,)).require_command()
    Notify(webhook="http://lab").require_command()


def test_a_receiver_in_trouble_does_not_delay_the_other(tmp_path):
    body = '(here / "got").write_text("x")'
    with server(500) as (address, _):
        sending, reported = notifier(Notify(command=command(tmp_path, body), webhook=address), back_off=600.0)
        sending.send("alarm", "x")
        until(lambda: sending.delivered)
        assert (tmp_path / "got").exists()
        assert sending.close(0.0) == 1
    assert "webhook" in reported[0][0]


# occasions and the file


def test_only_what_is_asked_for_is_told():
    with server(200) as (address, received):
        sending, _ = notifier(Notify(webhook=address, on=("die", "end")))
        for event in ("alarm", "die", "stop", "end"):
            sending.send(event, event)
        sending.close(PATIENCE)
    assert [body["event"] for _, body in received] == ["die", "end"]


def test_nobody_is_told_where_nobody_is_named():
    sending = Notifier(None, ABOUT)
    sending.send("alarm", "x")
    assert sending.close() == 0


def test_a_file_says_whom_to_tell(tmp_path):
    path = tmp_path / "notify.yaml"
    path.write_text("command: [mail, lab]\nwebhook: https://chat.example.org/x\non: [die]\ntimeout: 3 s\n")
    notify = files.load(path, Notify)
    assert notify == Notify(command=("mail", "lab"), webhook="https://chat.example.org/x", on=("die",), timeout=3.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "nobody is told"),
        ({"command": ()}, "at least 1"),
        ({"webhook": "file:///etc/passwd"}, "no address of a webhook"),
        ({"webhook": "https://"}, "no address of a webhook"),
        ({"webhook": "https://lab/a b"}, "no address of a webhook"),
        ({"webhook": "https://lab", "on": ("dawn",)}, "'alarm', 'die', 'stop' or 'end'"),
        ({"webhook": "https://lab", "timeout": 0.0}, "greater than 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        Notify(**settings)


def test_a_file_with_a_bare_number_for_a_time_is_refused(tmp_path):
    path = tmp_path / "notify.yaml"
    path.write_text("webhook: https://lab\ntimeout: 3\n")
    with pytest.raises(BenchError, match="the bare number 3 has no unit"):
        files.load(path, Notify)
