"""One run on the page: the same numbers as on the watch screen and in the report, as they come, in any state."""

import re
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from markupsafe import escape

from labctl.analysis.measurements import measure
from labctl.core.die_state import State
from labctl.core.events import Alarm, Level, RunEnded
from labctl.core.exit_codes import Status
from labctl.report import page_parts
from labctl.report.formulas import formulas_of
from labctl.report.live_state import Watcher
from labctl.report.pace import Pace
from labctl.report.report_data import gather
from labctl.serve import live_run, run_parts
from labctl.serve.die_pages import MOST, DiePages
from labctl.serve.live_run import LiveRun, Look
from labctl.serve.measurements import Measurements, identity_of
from labctl.storage.journal import Journal
from labctl.storage.results import DieData
from labctl.storage.run_log import Runlog, read_state
from tests.waiting import PATIENCE

PARTS = {"head", "now", "alarms", "maps", "dies", "trends", "cells"}


def at_once() -> tuple[Pace, Pace]:
    return Pace(1e9), Pace(1e9)


def whole(run: LiveRun) -> Look:
    """Return a run of which all dies were read."""
    look = run.look()
    for _ in range(30):
        if "not yet read" not in look.parts["cells"][1]:
            return look
        opened = run._opened
        assert opened is not None
        opened.alive, opened.at_rest = at_once()
        look = run.look()
    raise AssertionError("dies still wait to be read")


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


@pytest.mark.parametrize("name", ["going", "killed", "ended"])
def test_a_run_in_any_state_has_all_parts_and_says_which(runs: Path, name: str) -> None:
    look = LiveRun(runs / name, at_once).look()
    assert set(look.parts) == PARTS
    head = words(look.parts["head"][1])
    says = {"going": "still running", "killed": "broken off: killed", "ended": "stopped by the operator"}[name]
    assert says in head
    assert look.alive == (name == "going")
    assert ("labctl resume" in head) == (name != "going")
    assert look.parts["maps"][1].count('class="die"') % 7 == 0
    assert look.parts["maps"][1].count('class="die"') >= 7


def test_it_says_what_the_watch_screen_says(runs: Path) -> None:
    now, look = Watcher(runs / "going").snapshot(), LiveRun(runs / "going", at_once).look()
    shown = words(look.parts["now"][1])
    (die,) = now.under_way
    assert die.share is not None
    for text in ("3 of 6", f"{die.die} {die.stage}", f"{die.share:.0%}".replace("%", " %"), now.last):
        assert text in shown
    assert "R P 2.50 kΩ, TMR 100.0 %, write fidelity 97.50 %" in shown
    alarms = words(look.parts["alarms"][1])
    assert now.alarms
    assert all(words(str(escape(text))) in alarms for _, _, _, text in now.alarms)
    assert "pads 1-2 &lt;open&gt;" in look.parts["alarms"][1]


def test_maps_tables_and_charts_are_those_of_the_report(runs: Path) -> None:
    look, facts = whole(LiveRun(runs / "ended", at_once)), gather(runs / "ended")
    for drawn in page_parts.drawn_maps(facts).values():
        assert drawn.large in look.parts["maps"][1]
    for part, charts in (
        ("trends", page_parts.trends(facts)),
        ("cells", [*page_parts.histograms(facts.distributions), *page_parts.spreads(facts)]),
    ):
        assert charts
        assert all(svg in look.parts[part][1] for _, _, svg in charts)
    rows = page_parts.rows(facts, page_parts.colours_of(page_parts.drawn_maps(facts)))
    assert all(str(escape(text)) in look.parts["dies"][1] for row in rows for text, _, _ in row)
    assert words(look.parts["head"][1]).split(".")[0].endswith(page_parts.headline(facts).rstrip("."))


def test_a_row_of_the_journal_is_news_at_the_next_look_and_what_has_not_changed_is_none(runs: Path) -> None:
    run = LiveRun(runs / "going", lambda: (Pace(1e9), Pace(1e9, 1e9)))  # only a row of the run is a reason to look
    before = whole(LiveRun(runs / "going", at_once))
    run.look()
    tags = {name: tag for name, (tag, _) in before.parts.items()}
    assert set(whole(LiveRun(runs / "going", at_once)).news(tags)) <= {"now"}
    with Runlog.open(runs / "going") as log:
        log.set_state("D", State.LIMIT_STOP, 1, "too many shorts", seconds=9.0, bin="limit", hard=6)
        log.write(Alarm(text="too many shorts", die="D", level=Level.ALARM))
        news = run.look().news(tags)
        assert {"head", "now", "alarms", "maps"} <= set(news)
        assert "D: limit (too many shorts)" in news["maps"][1]
        assert "4 of 6 dies done" in words(news["head"][1])
        log.write(RunEnded(outcome=Status.ABORT, exit_code=3, reason="enough"))
        look = run.look()
        assert not look.alive
        assert "enough" in words(look.parts["head"][1])
        log.finish()  # a page that is open is not in the way of the end


def test_a_bench_that_may_be_live_is_said_as_watch_says_it(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = "OUTPUTS MAY BE ON: labctl off bench.yaml; no guard has made the bench safe"
    monkeypatch.setattr("labctl.report.live_state.bench_text", lambda *_: live)
    monkeypatch.setattr("labctl.report.report_data.bench_text", lambda *_: live)
    head = LiveRun(runs / "killed", at_once).look().parts["head"][1]
    assert f'role="alert"><b class="text">{live}' in head
    assert words(head).count("OUTPUTS MAY BE ON") == 1


def test_a_damaged_journal_is_said_and_looked_at_again(runs: Path, night: Callable[[str], Path]) -> None:
    run = LiveRun(runs / "damaged", at_once)
    look = run.look()
    assert set(look.parts) == {"head"}
    assert "is damaged" in words(look.parts["head"][1])
    assert run.die("A") is None
    shutil.copyfile(night("end") / "journal.db", runs / "damaged" / "journal.db")
    assert set(run.look().parts) == PARTS


def test_a_damaged_die_costs_its_own_numbers_and_says_so(runs: Path) -> None:
    file = runs / "ended" / "dies" / "A.h5"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(data)
    run = LiveRun(runs / "ended", at_once)
    look = whole(run)
    assert set(look.parts) == PARTS
    html = run.die("A")
    assert html is not None
    assert "A.h5" in words(html)
    assert 'class="alarm"' in html


def test_a_run_that_goes_away_while_it_is_looked_at_is_no_traceback(runs: Path) -> None:
    run = LiveRun(runs / "ended", at_once)
    run.look()
    shutil.rmtree(runs / "ended")
    assert "there is no run here" in words(run.look().parts["head"][1])


def test_one_die_has_its_tries_its_figures_and_its_histograms(runs: Path) -> None:
    run = LiveRun(runs / "ended", at_once)
    whole(run)
    html = run.die("B")
    assert html is not None
    for said in ("low-fidelity", "ZeroDivisionError", "In doubt", "Conductance of good cells", "97.50"):
        assert said in html
    assert run.die("A@1") is not None
    assert run.die("Z") is None
    assert run.die("<script>") is None


def test_a_die_that_is_opened_before_it_was_read_has_its_histograms_later(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_run, "_SOME_DIES", 0.0)
    run = LiveRun(runs / "ended", at_once)
    html = run.die("B")
    assert html is not None
    assert "Conductance of good cells" not in html, "one die is read at a look, and this is not the first"
    whole(run)
    opened = run._opened
    assert opened is not None
    opened.dies._pace = Pace(1e9)
    assert "Conductance of good cells" in (run.die("B") or "")


def test_asking_often_for_a_die_under_way_draws_it_at_a_pace(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, drawn = LiveRun(runs / "going", at_once), list[str]()
    original = run_parts.die
    monkeypatch.setattr(run_parts, "die", lambda die, *more: drawn.append(die.name) or original(die, *more))
    html = run.die("D")
    opened = run._opened
    assert opened is not None
    opened.dies._pace = Pace(1e9, 1e9)
    with opened.dies._pace.work():
        pass
    with Journal.open(runs / "going" / "dies" / "D", readonly=False) as journal:
        journal.intend("survey", "sense", {"n": 1})
        journal.commit()
    assert run.die("D") == html
    assert drawn == ["D"]
    opened.dies._pace = Pace(1e9)
    run.die("D")
    assert drawn == ["D", "D"]


def test_few_dies_are_kept_as_they_were_drawn() -> None:
    pages, drawn = DiePages(Pace(1e9)), list[str]()
    for name in [f"D{k}" for k in range(MOST + 1)] + ["D1", "D0"]:
        pages.html(name, 1, lambda name=name: drawn.append(name) or name)
    assert drawn == [*(f"D{k}" for k in range(MOST + 1)), "D0"]


@pytest.mark.skipif(sys.platform == "win32", reason="rights are an access list there")
def test_a_die_whose_rights_were_mended_is_read_again(runs: Path) -> None:
    state = read_state(runs / "ended")
    die = state.dies["A"]
    data = DieData.of_run(runs / "ended", "A", die.folder)
    before = identity_of(data, die)
    data.path.chmod(0)
    data.path.chmod(0o600)
    assert identity_of(data, die) != before


def test_while_a_run_goes_on_dies_are_read_one_at_a_time_and_as_rarely_as_they_are_long(runs: Path) -> None:
    run = LiveRun(runs / "going", at_once)
    waits = words(run.look().parts["cells"][1])
    assert "3 dies not yet read" in waits  # A, B, A@1 and D have data, and one was read
    assert "3 dies not yet read" in words(run.look().parts["cells"][1])
    opened = run._opened
    assert opened is not None
    opened.alive = Pace(1e9)
    assert "2 dies not yet read" in words(run.look().parts["cells"][1])


def test_figures_that_wait_are_those_of_the_runs_journal(runs: Path) -> None:
    state = read_state(runs / "ended")
    kept = Measurements(formulas_of(state.meta))
    kept.begin(None, counts=True)
    die = state.dies["A"]
    assert die.last is not None
    data = DieData.of_run(runs / "ended", "A", die.folder, die.last.sha256)
    measured, counts = kept.of(data, die)
    assert (measured.figures, kept.waiting, counts.sizes) == (die.last.figures, 1, [])


def test_what_is_kept_of_a_die_is_what_was_measured(runs: Path) -> None:
    state = read_state(runs / "ended")
    formulas = formulas_of(state.meta)
    kept, die = Measurements(formulas), state.dies["B"]
    assert die.last is not None
    data = DieData.of_run(runs / "ended", "B", die.folder, die.last.sha256)
    measured, counts = measure(data, formulas)
    for budget in (10.0, None):  # read, and from memory
        kept.begin(budget, counts=True)
        again, same = kept.of(data, die)
        assert again == measured
        assert same.sizes == counts.sizes == [""]
        assert (same.g_p[""] == counts.g_p[""]).all()
        assert (same.g_ap[""] == counts.g_ap[""]).all()
        assert (same.tmr, same.to_p, same.to_ap, same.pulses) == (counts.tmr, counts.to_p, counts.to_ap, counts.pulses)
    assert (kept.counts("B").g_p[""] == counts.g_p[""]).all()


def test_many_who_look_at_once_read_once(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = LiveRun(runs / "going")
    times = list[int]()
    original = Watcher.snapshot
    monkeypatch.setattr(Watcher, "snapshot", lambda self: times.append(1) or original(self))
    threads = [threading.Thread(target=run.look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(times) == 1


def test_no_rows_no_work(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run at rest whose dies were read costs a look at its journal, and no die."""
    run = LiveRun(runs / "ended", at_once)
    whole(run)
    opened = run._opened
    assert opened is not None
    opened.settled = Pace(1e9, live_run._SETTLED)
    run.look()
    monkeypatch.setattr("labctl.serve.live_run.facts_of", lambda *_: pytest.fail("the dies were looked at"))
    monkeypatch.setattr(Journal, "table", lambda *_: pytest.fail("a table was read"))
    run.look()
