"""The page as a browser, and whoever means no good, gets it: in this process, request by request."""

import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labctl.storage.journal import Journal
from labctl.storage.run_log import Runlog
from tests.asgi import ask

pytest.importorskip("starlette", reason="the extra 'serve' is not installed")

from labctl.serve.access import COOKIE, Access
from labctl.serve.app import OPEN, Pages, application
from labctl.serve.live_run import LiveRun
from labctl.serve.run_list import RunList

TOKEN = "b6Wc" * 10


@pytest.fixture
def page(runs: Path) -> Any:
    """The page of runs on this computer."""
    return application(RunList(runs), Access.of("127.0.0.1"))


@pytest.fixture
def guarded(runs: Path) -> Any:
    """The page of runs beyond this computer."""
    return application(RunList(runs), Access.of("192.0.2.5", ["lab3.local"], TOKEN))


def test_the_list_leads_to_every_run_and_to_no_other_place(page: Any) -> None:
    home = ask(page, "/")
    assert home.status == 200
    links = re.findall(r'href="(runs/[^"]+)"', home.text)
    assert sorted(links) == ["runs/damaged", "runs/ended", "runs/going", "runs/killed"]
    for link in links:
        run = ask(page, f"/{link}")
        assert run.status == 200
        assert "<h1>" in run.text
    assert "is damaged" in ask(page, "/runs/damaged").text


def test_a_folder_that_is_a_run_leads_to_its_page(runs: Path) -> None:
    page = application(RunList(runs / "ended"), Access.of("127.0.0.1"))
    home = ask(page, "/")
    assert (home.status, home.headers["location"]) == (303, "runs/ended")
    assert "All runs" not in ask(page, "/runs/ended").text


@pytest.mark.parametrize(
    ("name", "address"), [("night #3", "night%20%233"), ("50%", "50%25"), ("a?b&c;ä", "a%3Fb%26c%3B%C3%A4")]
)
@pytest.mark.skipif(sys.platform == "win32", reason="? is in no name there")
def test_a_run_of_any_name_has_an_address(runs: Path, name: str, address: str) -> None:
    (runs / "ended").rename(runs / name)
    page = application(RunList(runs), Access.of("127.0.0.1"))
    assert f'href="runs/{address}"' in ask(page, "/").text
    assert f'data-news="{address}/news"' in ask(page, f"/runs/{name}").text
    single = application(RunList(runs / name), Access.of("127.0.0.1"))
    assert ask(single, "/").headers["location"] == f"runs/{address}"


@pytest.mark.skipif(sys.platform != "linux", reason="a name is text there")
def test_a_name_that_is_no_text_is_listed_and_leads_to_its_run(page: Any, runs: Path) -> None:
    os.rename(runs / "ended", os.fsencode(runs) + b"/n\xe9")
    assert 'href="runs/n%EF%BF%BD"' in ask(page, "/").text
    answer = ask(page, "/runs/n\ufffd")
    assert answer.status == 200
    assert 'data-news="n%EF%BF%BD/news"' in answer.text


@pytest.mark.skipif(sys.platform == "win32", reason="a link needs a right there")
def test_a_link_is_asked_for_news_by_its_own_name(page: Any, runs: Path) -> None:
    os.symlink(runs / "ended", runs / "newest")
    assert 'data-news="newest/news"' in ask(page, "/runs/newest").text
    assert ask(page, "/runs/newest/news").status == 200


def test_news_are_what_a_browser_does_not_have(page: Any, runs: Path) -> None:
    news = ask(page, "/runs/ended/news").json
    assert not news["alive"]
    tags = "&".join(f"{name}={tag}" for name, (tag, _) in news["parts"].items())
    again = ask(page, "/runs/ended/news", query=tags).json
    assert set(again["parts"]) <= {"dies", "cells", "trends", "maps"}  # as dies are read
    assert ask(page, "/runs/going/news").json["alive"]
    (listed,) = ask(page, "/news").json["parts"].values()
    assert ask(page, "/news", query=f"runs={listed[0]}").json["parts"] == {}


def test_one_die(page: Any) -> None:
    answer = ask(page, "/runs/ended/dies/B")
    assert answer.status == 200
    assert "ZeroDivisionError" in answer.text
    assert ask(page, "/runs/ended/dies/A@1").status == 200
    assert ask(page, "/runs/ended/dies/Z").status == 404
    assert ask(page, "/runs/damaged/dies/A").status == 404


def test_a_die_is_sent_again_only_if_it_is_another(page: Any) -> None:
    ask(page, "/runs/ended/dies/B")
    answer = ask(page, "/runs/ended/dies/B")
    again = ask(page, "/runs/ended/dies/B", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status, again.text) == (304, "")
    assert ask(page, "/runs/ended/dies/B", headers={"if-none-match": '"0"'}).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/runs/..", "/runs/../killed", "/runs/ended/../../secret", "/runs/%2e%2e", "/runs/..%2fsecret", "/runs/secret",
        "/runs/ended/dies/../../../run.json", "/runs/ended/run.json", "/runs/ended/dies/A.h5", "/runs/ended/journal.db",
        "/runs//etc/passwd", "/static/../serve.js", "/static/access.py", "/static/", "//etc/passwd", "/runs/ended\x00",
    ],
)  # fmt: skip
def test_no_path_leads_to_a_file(page: Any, runs: Path, path: str) -> None:
    (runs.parent / "secret").mkdir()
    (runs.parent / "secret" / "run.json").write_text("{}")
    answer = ask(page, path)
    assert answer.status == 404
    assert "passwd" not in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8642", "127.0.0.1.evil.example", "192.0.2.5", None])
def test_a_name_that_somebody_has_let_point_here_is_refused_everywhere(page: Any, host: str | None) -> None:
    for path in ("/", "/runs/ended", "/runs/ended/news", "/static/serve.js", "/login"):
        answer = ask(page, path, host=host)
        assert answer.status == 421
        assert "night" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_no_request_changes_anything(page: Any, method: str) -> None:
    for path in ("/", "/runs/ended", "/runs/ended/news", "/runs/ended/dies/A"):
        assert ask(page, path, method=method).status == 405


def test_a_browser_may_load_nothing_from_elsewhere_and_runs_no_script_of_a_run(page: Any) -> None:
    for path in ("/", "/runs/ended", "/runs/ended/news", "/static/serve.js", "/nowhere"):
        headers = ask(page, path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
    text = ask(page, "/runs/ended").text + ask(page, "/runs/ended/dies/B").text + ask(page, "/").text
    assert not re.search(r"<script(?! src=)|<style|\sstyle=|\son[a-z]+=|javascript:|https?://", text)
    assert "six dies &lt;small &amp; good&gt;" in text
    for name in ("report.css", "parts.js", "serve.css", "serve.js", "login.js"):
        content = ask(page, f"/static/{name}")
        assert content.status == 200
        assert content.headers["content-type"].startswith("text/css" if name.endswith("css") else "text/javascript")
        assert "https:" not in content.text


def test_without_the_token_there_is_nothing_but_the_question_for_it(guarded: Any) -> None:
    for path in ("/", "/runs/ended", "/runs/nowhere", "/nowhere"):
        answer = ask(guarded, path)
        assert answer.status == 401
        assert 'type="password"' in answer.text
        assert "night" not in answer.text
        assert TOKEN not in answer.text
    for path in ("/news", "/runs/ended/news", "/runs/ended/dies/A"):
        answer = ask(guarded, path)
        assert (answer.status, answer.text) == (401, "A token is needed.\n")
    assert ask(guarded, "/", headers={"authorization": "Bearer wrong", "cookie": f"{COOKIE}=wrong"}).status == 401
    assert ask(guarded, "/", host="evil.example").status == 421
    assert ask(guarded, "/").headers["connection"] == "close"
    assert "connection" not in ask(guarded, "/", headers={"authorization": f"Bearer {TOKEN}"}).headers


def test_the_token_gives_a_cookie_that_lets_in(guarded: Any) -> None:
    wrong = ask(guarded, "/login", method="POST", body=b"token=wrong")
    assert wrong.status == 403
    assert "That is not the token" in wrong.text
    assert "set-cookie" not in wrong.headers
    right = ask(guarded, "/login", method="POST", body=f"token={TOKEN}".encode(), host="lab3.local:8642")
    assert (right.status, right.headers["location"]) == (303, "./")
    cookie = right.headers["set-cookie"]
    assert TOKEN not in cookie
    assert all(word in cookie.lower() for word in ("httponly", "samesite=strict", "path=/"))
    for path in ("/", "/runs/going", "/runs/going/news"):
        assert ask(guarded, path, headers={"cookie": cookie.partition(";")[0]}).status == 200
        assert ask(guarded, path, headers={"authorization": f"Bearer {TOKEN}"}).status == 200
    assert ask(guarded, "/login", method="POST", body=b"x" * 5000).status == 413


def test_nothing_of_a_run_that_could_be_a_secret_is_on_the_page(runs: Path) -> None:
    """A page has what is measured and decided; command lines and files of people are in the report."""
    page = application(RunList(runs), Access.of("127.0.0.1"))
    text = ask(page, "/runs/ended").text + ask(page, "/runs/ended/dies/B").text
    assert "accept.fidelity=97 %" not in text
    assert "night.yaml" not in text


def test_a_bug_of_ours_shows_its_lines_to_who_started_the_page_only(
    page: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(LiveRun, "look", lambda self: 1 / 0)
    answer = ask(page, "/runs/ended")
    assert answer.status == 500
    assert "ZeroDivisionError" not in answer.text
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_few_runs_are_kept_in_memory(runs: Path) -> None:
    pages = Pages(RunList(runs), Access.of("127.0.0.1"))
    for number in range(OPEN + 3):
        os.makedirs(runs / f"r{number}")
        (runs / f"r{number}" / "run.json").write_text("{}")
        request: Any = type("Request", (), {"path_params": {"run": f"r{number}"}})
        pages._live(request)
    assert len(pages._open) == OPEN


@pytest.fixture
def writing(runs: Path) -> Iterator[list[int]]:
    """The writer of a run, in a thread of its own, and how many rows it has written."""
    stop, rows = threading.Event(), list[int]()

    def write() -> None:
        with Journal.open(runs / "going" / "dies" / "D", readonly=False) as journal:
            while not stop.is_set():
                journal.intend("survey", "sense", {"n": len(rows)})
                journal.commit()
                rows.append(1)

    thread = threading.Thread(target=write)
    thread.start()
    yield rows
    stop.set()
    thread.join()


def test_a_run_that_writes_is_not_kept_waiting(page: Any, runs: Path, writing: list[int]) -> None:
    before = len(writing)
    for _ in range(5):
        assert ask(page, "/runs/going/news").status == 200
    with Runlog.open(runs / "going") as log:  # the run's own journal takes rows beside it
        assert log.state.seq
    assert len(writing) > before
