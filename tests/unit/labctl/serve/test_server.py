"""Where the page listens, and what is refused before it does."""

import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from labctl.core.errors import BenchError, NotThereError

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

from labctl.serve import server


class Served:
    """In the place of uvicorn: what it was asked to serve."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.listened: list[Any] = []

    def Config(self, app: Any, **settings: Any) -> Any:
        self.settings = settings
        return app

    def Server(self, config: Any) -> Any:
        return self

    def run(self, sockets: list[Any]) -> None:
        self.listened = [one.getsockname() for one in sockets]


class Listening:
    """In the place of a socket that other computers reach."""

    def getsockname(self) -> tuple[str, int]:
        return "192.0.2.5", 8642

    def close(self) -> None:
        """Nothing listens."""


@pytest.fixture
def beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "listen", lambda host, port: Listening())


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    made = Served()
    monkeypatch.setattr(server, "uvicorn", lambda: made)
    return made


def test_by_itself_it_is_for_this_computer_alone_and_asks_for_nothing(tmp_path: Path, served: Served) -> None:
    lines, urls = list[str](), list[str]()
    server.serve(tmp_path, lines.append, ready=urls.append)
    ((address, port),) = served.listened
    assert address == "127.0.0.1"
    assert urls == [f"http://127.0.0.1:{port}/"]
    assert lines == [f"{tmp_path}: http://127.0.0.1:{port}/"]
    assert served.settings["access_log"] is False
    assert served.settings["limit_concurrency"] == 64


@pytest.mark.usefixtures("beyond")
def test_a_token_is_printed_once_on_a_terminal_behind_what_a_browser_sends(tmp_path: Path, served: Served) -> None:
    lines = list[str]()
    server.serve(tmp_path, lines.append, host="192.0.2.5", on_terminal=True)
    (line,) = [line for line in lines if "#token=" in line]
    url, _, token = line.partition("#token=")
    assert url.endswith(" http://192.0.2.5:8642/")
    assert len(token) >= 43
    assert any("nothing is encrypted" in line for line in lines)


@pytest.mark.usefixtures("beyond")
def test_a_token_gets_into_no_log(tmp_path: Path, served: Served) -> None:
    lines = list[str]()
    with pytest.raises(BenchError, match="would get into a log; expected --token-file FILE"):
        server.serve(tmp_path, lines.append, host="192.0.2.5")
    assert lines == []
    assert served.listened == []
    file = tmp_path / "token"
    server.serve(tmp_path, lines.append, host="192.0.2.5", token_file=file)
    assert f"the token is in {file}" in lines
    assert file.read_text().strip() not in "\n".join(lines)


def test_a_port_that_is_taken_and_an_address_of_another_computer_are_refused(tmp_path: Path, served: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BenchError, match=rf"127.0.0.1 port {port} cannot be listened at: .*--port 0"):
            server.serve(tmp_path, print, port=port)
    with pytest.raises(BenchError, match=r"192.0.2.1 port 0 cannot be listened at"):
        server.serve(tmp_path, print, host="192.0.2.1")


@pytest.mark.parametrize("host", ["..", "a" * 64, "lab..example"])
def test_what_can_be_no_name_of_a_computer_is_refused(tmp_path: Path, served: Served, host: str) -> None:
    with pytest.raises(BenchError, match=r" port 0 cannot be listened at: that is no name of a computer; expected"):
        server.serve(tmp_path, print, host=host)


def test_what_is_no_folder_is_refused(tmp_path: Path, served: Served) -> None:
    with pytest.raises(NotThereError, match="expected a run folder, or a folder of run folders; no such file"):
        server.serve(tmp_path / "nowhere", print)


def test_the_extra_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(BenchError, match=r"pip install 'mtj-labctl\[serve\]'"):
        server.serve(tmp_path, print)


def test_an_address_that_stands_for_all_is_shown_as_one_that_others_can_type() -> None:
    assert server.shown("0.0.0.0") not in ("0.0.0.0", "127.0.0.1") or not server.others()
    assert server.shown("127.0.0.1") == "127.0.0.1"
    assert server.shown("2001:db8::5") == "[2001:db8::5]"
