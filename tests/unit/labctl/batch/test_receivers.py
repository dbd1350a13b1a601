"""The operator's command gets messages, and so has whoever has a tag; no secret is quoted."""

import json
import os
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, repeat

import pytest
from pydantic import ValidationError

from labctl import files
from labctl.batch.notifications import compose
from labctl.batch.receivers import VARIABLE, DeliveryError, configuration_file, receivers, run_command, tagged
from labctl.config.notify import Notify
from labctl.core.errors import BenchError
from tests.waiting import until

ABOUT = {"run": "W12", "folder": "runs/w12"}
SECRET = "c4n4ry0f4n4ddr355"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def server(*answers):
    """Yield the port of a server, and what was posted to it: path, headers and body.

    Args:
        answers: status codes in order, the last for ever.
    """
    received, codes = [], chain(answers, repeat(answers[-1] if answers else 200))

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, dict(self.headers), json.loads(body)))
            self.send_response(next(codes), f"what about {SECRET}")
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(SECRET.encode())

        do_GET = do_POST

        def log_message(self, *_):
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield listening.server_address[1], received
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def address_book(tmp_path, *ports, tag="lab", more=""):
    """Write a configuration of apprise with an address for each port, and return its path."""
    path = tmp_path / "who is told #1?.yaml"
    urls = "".join(f"  - json://me:{SECRET}@127.0.0.1:{port}/hooks/{SECRET}:\n      tag: {tag}\n" for port in ports)
    path.write_text(f"urls:\n{urls}{more}")
    return path


def message(event="alarm", text="no contact µ <b>", **more):
    return compose(event, text, ABOUT, **more)


def command(tmp_path, body, *arguments):
    """Return the command that runs a Python program, and the folder it works in."""
    program = tmp_path / "hook.py"
    program.write_text(
        f"import json, os, pathlib, subprocess, sys, time\nhere = pathlib.Path(__file__).parent\n{body}\n"
    )
    return (sys.executable, str(program), *arguments)


# addresses with a tag


def test_whoever_has_the_tag_gets_title_text_and_kind(tmp_path):
    with server(200) as (port, received), server(200) as (other, unasked):
        book = address_book(tmp_path, port, more=f"  - json://127.0.0.1:{other}/:\n      tag: others\n")
        (receiver,) = tagged("lab", book)
        for event in ("alarm", "die", "stop", "end", "test"):
            receiver.deliver(message(event, die="D17"))
    assert receiver.name == "JSON with the tag lab"
    bodies = [body for _, _, body in received]
    assert [body["type"] for body in bodies] == ["warning", "info", "failure", "success", "info"]
    assert [body["title"] for body in bodies] == [
        "labctl: alarm",
        "labctl: a die is finished",
        "labctl: the run stopped",
        "labctl: the run has ended",
        "labctl: test",
    ]
    first, second = bodies[0]["message"].splitlines()
    assert first == "W12, D17: no contact µ <b>"
    assert second.startswith("runs/w12 on ")
    assert {path for path, _, _ in received} == {f"/hooks/{SECRET}"}
    assert received[0][1]["User-Agent"] == "mtj-labctl"
    assert not unasked


def test_addresses_of_one_kind_are_numbered_and_each_is_a_receiver_of_its_own(tmp_path):
    with server(200) as (one, received), server(500) as (two, refused):
        book = address_book(tmp_path, one, two)
        first, second = tagged("lab", book)
        assert (first.name, second.name) == ("JSON 1 with the tag lab", "JSON 2 with the tag lab")
        first.deliver(message())
        with pytest.raises(DeliveryError, match=r"^it did not take the message$"):
            second.deliver(message())
    assert (len(received), len(refused)) == (1, 1)


@pytest.mark.parametrize("code", [500, 404, 302])
def test_a_failure_is_worth_another_try_and_quotes_nothing(tmp_path, capfd, caplog, code):
    with server(code) as (port, received):
        (receiver,) = tagged("lab", address_book(tmp_path, port))
        with pytest.raises(DeliveryError) as failed:
            receiver.deliver(message())
    assert failed.value.again
    assert failed.value.__cause__ is None
    assert len(received) == 1  # a redirected POST would arrive without its body
    assert SECRET not in str(failed.value) + receiver.name
    assert capfd.readouterr() == ("", "")  # the screen belongs to the run


def test_a_server_that_is_gone_is_a_failure(tmp_path):
    with server(200) as (port, _):
        pass
    (receiver,) = tagged("lab", address_book(tmp_path, port))
    with pytest.raises(DeliveryError, match="did not take"):
        receiver.deliver(message())


def test_a_bug_in_a_service_is_a_failure_that_quotes_nothing(tmp_path, monkeypatch):
    import apprise

    (receiver,) = tagged("lab", address_book(tmp_path, 9))

    def broken(self, *_, **__):
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr(apprise.Apprise, "notify", broken)
    with pytest.raises(DeliveryError, match=r"^apprise failed \(ZeroDivisionError\)$"):
        receiver.deliver(message())


def test_a_tag_that_nobody_has_is_refused_with_the_tags_that_there_are(tmp_path):
    book = address_book(tmp_path, 9, more="  - json://127.0.0.1:9/:\n      tag: phone, night\n")
    with pytest.raises(BenchError) as refused:
        tagged("lob", book)
    assert str(refused.value).endswith("has the tag 'lob'; tags there: lab, night, phone")


def test_an_entry_that_apprise_does_not_understand_is_refused_with_what_shows_it(tmp_path):
    book = address_book(tmp_path, 9, more=f"  - nonsense://{SECRET}\n")
    with pytest.raises(
        BenchError, match=r"apprise does not understand all of .*; to see what: apprise --dry"
    ) as refused:
        tagged("lab", book)
    assert SECRET not in str(refused.value)


def test_a_configuration_in_the_text_format_is_read(tmp_path):
    path = tmp_path / "who.conf"
    with server(200) as (port, received):
        path.write_text(f"# of the lab\nlab=json://127.0.0.1:{port}/x\n")
        (receiver,) = tagged("lab", path)
        receiver.deliver(message())
    assert len(received) == 1


def test_the_configuration_is_named_or_in_the_folder_of_the_user(tmp_path, monkeypatch):
    import platformdirs

    own, everybody = tmp_path / "own", tmp_path / "all"
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *_: own)
    monkeypatch.setattr(platformdirs, "site_config_path", lambda *_: everybody)
    with pytest.raises(BenchError) as refused:
        configuration_file({})
    assert f"expected {own / 'notify.yaml'}, {everybody / 'notify.yaml'}" in str(refused.value)
    for folder in (everybody, own):
        folder.mkdir()
        (folder / "notify.yaml").write_text("urls: []\n")
        assert configuration_file({}) == folder / "notify.yaml"
    (tmp_path / "other").write_text("")
    assert configuration_file({VARIABLE: str(tmp_path / "other")}) == tmp_path / "other"
    with pytest.raises(BenchError, match=f"{VARIABLE} names .*none, and there is no such file"):
        configuration_file({VARIABLE: str(tmp_path / "none")})
    with pytest.raises(BenchError, match=f"{VARIABLE} names .*own, which is a folder; expected a configuration file"):
        configuration_file({VARIABLE: str(own)})
    (tmp_path / "blank").write_text(" \n")
    with pytest.raises(BenchError, match="blank is empty; expected addresses with their tags"):
        tagged("lab", tmp_path / "blank")


def test_the_receivers_of_a_campaign_are_its_command_and_everybody_with_its_tag(tmp_path):
    assert receivers(None) == []
    hook = command(tmp_path, "")
    with server(200) as (port, _):
        named = receivers(Notify(command=hook, tag="lab"), {VARIABLE: str(address_book(tmp_path, port))})
    assert [receiver.name for receiver in named] == [f"command {sys.executable}", "JSON with the tag lab"]
    with pytest.raises(BenchError, match="there is no such file"):
        receivers(Notify(tag="lab"), {VARIABLE: str(tmp_path / "none")})


# the command


def test_a_command_gets_the_message_and_its_text(tmp_path):
    body = """
(here / "got.json").write_text(sys.stdin.read())
(here / "env.json").write_text(json.dumps([os.environ["LABCTL_EVENT"], os.environ["LABCTL_TEXT"], sys.argv[1:]]))
"""
    sent = message(text="50 % of D3\0", die="D3", figures={"fidelity": 0.5})
    run_command(command(tmp_path, body, "--to", "me & you"), 60.0, sent)
    got = json.loads((tmp_path / "got.json").read_text())
    assert (got["event"], got["die"], got["figures"]) == ("alarm", "D3", {"fidelity": 0.5})
    assert json.loads((tmp_path / "env.json").read_text()) == ["alarm", "W12, D3: 50 % of D3", ["--to", "me & you"]]


def test_a_command_that_fails_is_worth_another_try_and_its_last_line_is_quoted(tmp_path):
    body = 'print("well", file=sys.stderr); print("no route to mail", file=sys.stderr); sys.exit(7)'
    with pytest.raises(DeliveryError, match=r"^exit code 7: no route to mail$") as failed:
        run_command(command(tmp_path, body), 60.0, message())
    assert failed.value.again


def test_an_address_that_a_command_quotes_is_not_passed_on(tmp_path):
    body = 'print("curl: (22) https://ntfy.example.org/our-topic?auth=c4n4ry0f7h3: 403", file=sys.stderr); sys.exit(22)'
    with pytest.raises(DeliveryError, match=r"^exit code 22: curl: \(22\) https://\.\.\. 403$"):
        run_command(command(tmp_path, body), 10.0, message())


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path):
    import psutil

    body = """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
(here / "part").write_text(str(child.pid))
os.replace(here / "part", here / "child")
time.sleep(600)
"""
    with pytest.raises(DeliveryError, match=r"^it did not end within 2 s$"):
        run_command(command(tmp_path, body), 2.0, message())
    if os.name == "posix":
        child = tmp_path / "child"
        until(lambda: not child.exists() or not psutil.pid_exists(int(child.read_text())))


def test_a_command_that_reads_nothing_and_leaves_something_behind_has_done_its_part(tmp_path):
    body = 'subprocess.Popen([sys.executable, "-c", "import time; time.sleep(2)"])'
    run_command(command(tmp_path, body), 60.0, message(text="x" * 1_000_000))


def test_a_command_that_is_not_there_is_refused_before_the_night_and_given_up_during_it(tmp_path):
    absent = (str(tmp_path / "none"),)
    with pytest.raises(BenchError, match="none' is not there"):
        receivers(Notify(command=absent))
    with pytest.raises(DeliveryError, match="it cannot be started") as failed:
        run_command(absent, 60.0, message())
    assert not failed.value.again


# the section of a campaign


def test_a_file_names_whom_to_notify(tmp_path):
    path = tmp_path / "notify.yaml"
    path.write_text("command: [mail, lab]\ntag: lab-1\non: [die]\ntimeout: 3 s\n")
    assert files.load(path, Notify) == Notify(command=("mail", "lab"), tag="lab-1", on=("die",), timeout=3.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "nobody is notified"),
        ({"command": ()}, "at least 1"),
        ({"tag": "json://me:secret@lab"}, "match pattern"),
        ({"tag": "a, b"}, "match pattern"),
        (
            {"command": ("curl", "-d@-", "https://ntfy.example.org/our-topic")},
            "found an address in the command, expected a",
        ),
        ({"command": ("curl", "-d@-", "ntfy.example.org/our-topic")}, "found an address in the command"),
        ({"command": ("sh", "-c", "curl http://192.0.2.1")}, "found an address in the command"),
        ({"tag": "lab", "on": ("dawn",)}, "'alarm', 'die', 'stop' or 'end'"),
        ({"tag": "lab", "timeout": 0.0}, "greater than 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        Notify(**settings)


@pytest.mark.parametrize(
    ("text", "message"),
    [("tag: lab\ntimeout: 3\n", "the bare number 3 has no unit"), ("webhook: https://lab\n", "webhook")],
)
def test_a_file_with_a_bare_number_or_an_address_is_refused(tmp_path, text, message):
    path = tmp_path / "notify.yaml"
    path.write_text(text)
    with pytest.raises(BenchError, match=message):
        files.load(path, Notify)
