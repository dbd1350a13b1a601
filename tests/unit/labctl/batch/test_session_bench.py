"""What a bench answers when a run opens it stands in the journal of the run, and is not written twice."""

from types import SimpleNamespace

from labctl.batch import session
from labctl.core.events import BenchOpened
from labctl.storage.run_log import Runlog


def opened(log, monkeypatch, **answers):
    """Open a bench whose instruments answer so; return the events of that kind in the journal."""
    executor = SimpleNamespace(
        identities={"matrix": "707B", "smu": "2602B"}, old_errors={}, ledger=None,
        open=lambda: None, close=lambda: None, close_twin=lambda: None,
    )  # fmt: skip
    vars(executor).update(answers)
    monkeypatch.setattr(session, "BenchExecutor", lambda *arguments, **options: executor)
    options = SimpleNamespace(accept_changes=False, ask=None, type_in=None)
    with session._bench(None, (), None, options, log, "labctl run", None) as bench:
        assert bench is executor
    return [row.event for row in log.state.events if isinstance(row.event, BenchOpened)]


def test_identities_and_old_errors_are_in_the_journal(tmp_path, monkeypatch):
    log = Runlog.create(tmp_path / "run", {"dies": []})
    old = {"matrix": ("1115 Parameter error", "820 Interlock (a warning)")}
    (event,) = opened(log, monkeypatch, old_errors=old)
    assert event.old_errors == old
    assert event.text.endswith("; matrix had old errors in its queue: 1115 Parameter error, 820 Interlock (a warning)")
    assert len(opened(log, monkeypatch)) == 1
    assert len(opened(log, monkeypatch, identities={"matrix": "708B", "smu": "2602B"})) == 2
