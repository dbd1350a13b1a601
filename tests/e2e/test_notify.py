"""Whoever has the tag of a campaign hears of its run, and no secret of an address gets into it or on the screen."""

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import h5py
import pytest

from tests.waiting import PATIENCE

SECRETS = ("c4n4ry0f7h3p455w0rd", "c4n4ry0f7h3p47h", "c4n4ry0f7h3h34d3r", "c4n4ry0f7h34n5w3r")
ANSWER = SECRETS[-1]


@contextmanager
def server(*codes):
    """Yield the port of a server and the messages posted to it; it answers with `codes` in turn, then with 200."""
    received, left = [], list(codes)

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(left.pop(0) if left else 200, ANSWER)
            self.end_headers()
            self.wfile.write(ANSWER.encode())

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


@pytest.fixture
def address(tmp_path):
    """Return the function that writes apprise's configuration for a port, and the environment that names it."""

    def write(*ports):
        password, path, header = SECRETS[:3]
        urls = "".join(
            f"  - json://me:{password}@127.0.0.1:{port}/{path}/?+X-Token={header}:\n      tag: lab\n" for port in ports
        )
        book = tmp_path / "addresses.yaml"
        book.write_text(f"urls:\n{urls}")
        kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        return {**kept, "LABCTL_NOTIFY": str(book)}

    return write


@pytest.fixture
def notifying(tmp_path, campaign):
    """A campaign that notifies the tag lab of everything."""
    path = tmp_path / "notifying.yaml"
    path.write_text(campaign.read_text() + "\nnotify:\n  tag: lab\n  on: [alarm, die, stop, end]\n")
    return path


def labctl(*arguments, env):
    command = [sys.executable, "-m", "labctl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=env, check=False)


def contents(folder):
    """Yield every file of a folder with its bytes, and every value in its HDF5 files."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        yield path, path.read_bytes()
        if path.suffix == ".h5":
            with h5py.File(path) as file:
                values = []
                file.visititems(lambda name, item, values=values: values.append((name, item)))
                for name, item in values:
                    attributes = repr(dict(item.attrs))
                    data = item[()] if isinstance(item, h5py.Dataset) else b""
                    yield f"{path}:{name}", attributes.encode() + (data if isinstance(data, bytes) else bytes(data))


def test_a_run_notifies(notifying, address, tmp_path):
    with server(500) as (port, received):
        done = labctl("run", notifying, "--out", tmp_path / "run", env=address(port))
    assert done.returncode == 0, done.stderr
    assert [m["title"] for m in received] == [
        *["labctl: a die is finished"] * 2,  # the first try failed
        "labctl: the run has ended",
    ]
    out = tmp_path / "out"
    out.mkdir()
    exported = labctl("export", tmp_path / "run", "--csv", out / "csv", "--stdf", out / "x.stdf", env=address(port))
    assert exported.returncode == 0, exported.stderr
    texts = (done.stdout + done.stderr + exported.stdout).encode()
    for where, text in [*contents(tmp_path / "run"), *contents(out), ("the screen", texts)]:
        assert not any(secret.encode() in text for secret in SECRETS), where


@pytest.mark.slow
def test_a_run_whose_messages_are_refused_ends_says_so_and_keeps_no_secret(notifying, address, tmp_path):
    with server(500, 503) as (port, received), server(*[500] * 1000) as (deaf, refused):
        done = labctl("run", notifying, "--out", tmp_path / "run", env=address(port, deaf))
    assert done.returncode == 0, done.stderr
    assert [m["title"] for m in received[-2:]] == ["labctl: a die is finished", "labctl: the run has ended"]
    assert len(received) == 4  # two tries failed
    assert refused
    texts = (done.stdout + done.stderr).encode()
    files = [*contents(tmp_path / "run"), ("the screen", texts)]
    assert len(files) > 20
    assert any(b"JSON 2 with the tag lab: the message 'end' was not delivered" in text for _, text in files)
    for secret in SECRETS:
        for where, text in files:
            assert secret.encode() not in text, f"{secret} in {where}"


def test_a_tag_that_nobody_has_is_refused_before_a_folder_is_made(notifying, address, tmp_path):
    done = labctl("run", notifying, "--out", tmp_path / "run", "--set", "notify.tag=lob", env=address(9))
    assert done.returncode == 2
    assert "has the tag 'lob'; tags there: lab" in " ".join(done.stderr.split())
    assert not (tmp_path / "run").exists()


def test_a_test_message_says_who_took_it(notifying, campaign, address):
    with server(200) as (port, received), server(404) as (deaf, refused):
        done = labctl("notify", notifying, env=address(port, deaf))
    assert done.returncode == 2
    assert done.stdout.splitlines() == [
        "JSON 1 with the tag lab: delivered",
        "JSON 2 with the tag lab: NOT delivered, it did not take the message",
    ]
    assert "error=404" in done.stderr  # apprise says why, here only
    assert [m["title"] for m in received + refused] == ["labctl: test"] * 2
    with server(200) as (port, _):
        assert labctl("notify", notifying, env=address(port)).returncode == 0
    nobody = labctl("notify", campaign, env=address(9))
    assert nobody.returncode == 2
    assert "notifies nobody; expected a section 'notify'" in nobody.stderr


def test_a_library_is_imported_where_it_is_used_and_not_before():
    program = (
        "import sys, labctl.batch.session, labctl.station.bench_off\n"
        "from labctl.cli.commands import app\n"
        "app()\n"
        "borrowed = ('apprise', 'filelock', 'jeepney', 'jinja2', 'matplotlib', 'platformdirs', 'psutil', 'pyvisa',\n"
        "            'scipy.linalg', 'scipy.sparse', 'scipy.special', 'tenacity', 'wakepy')\n"
        "print([name for name in borrowed if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
