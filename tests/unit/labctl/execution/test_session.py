"""A session by hand: limited, journalled, left safe and sealed, without a procedure."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labctl.core.bias import Bias
from labctl.core.errors import ContactError, ContactLost, LimitError
from labctl.core.exit_codes import ExitCode, Status
from labctl.core.limits import Limits
from labctl.core.operations import Pulse, Sense
from labctl.core.site import Site
from labctl.execution import session as session_module
from labctl.execution.die_job import Job
from labctl.execution.session import STAGE, Session
from labctl.execution.stop import Stop
from labctl.station.simulated import Simulated
from labctl.storage.hdf5_reader import SealedDie
from labctl.storage.hdf5_writer import seal
from protocols.by_hand import ReadCell
from sim_backend.description import DieDescription

LIMITS = Limits(v_towards_p=0.7, v_towards_ap=0.7, width=1e-2, compliance=1e-2, v_count=0.35, pulses_per_cell=3)
DIE = DieDescription.model_validate(
    {"name": "small", "geometry": {"n_rows": 2, "n_cols": 3}, "junction": {"diameter": "80 nm"}},
    context={"file": True},
)


@pytest.fixture(autouse=True)
def sealed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "seal_in_subprocess", seal)


def job(folder: Path) -> Job:
    return Job(folder, Site("die", DIE, 5), LIMITS, meta={"kind": "by hand"})


def pulse(volts: float) -> Pulse:
    return Pulse(Bias(row=np.array([[volts, 0.0]]), col=np.zeros((1, 3))), 1e-3)


class Lifted(Simulated):
    """A die whose needles do not touch any more at the end."""

    def approach(self, *about: Any) -> Any:
        def prove() -> Any:
            raise ContactError("no contact: r0-c0 open")

        return replace(super().approach(*about), prove=prove)


def test_a_session_at_whose_end_the_needles_do_not_touch_is_void_and_left_safe(tmp_path: Path) -> None:
    opened = Session(job(tmp_path), Lifted())
    opened.__enter__()
    (record,) = ReadCell(kernel=0, row=1, col=2).run(opened.die, opened.history)
    opened.record(record)
    with pytest.raises(ContactLost, match=r"^void: at the end of the stage: no contact"):
        opened.__exit__(None, None, None)
    assert opened.outcome is not None
    assert (opened.outcome.void, opened.outcome.exit_code) == (True, ExitCode.STOPPED)
    with SealedDie(tmp_path / "dies" / "die.h5") as sealed:
        ended = [e for e in sealed.events() if e.kind == "die_ended"]
    assert ended[0].body["reason"].startswith("void: ")


def test_whatever_is_done_is_journalled_within_the_limits_and_sealed(tmp_path: Path) -> None:
    opened = Session(job(tmp_path), Simulated())
    assert opened.outcome is None
    with opened:
        reading = opened.die.sense(Sense(Bias(row=np.array([[0.1, 0.0]]), col=np.zeros((1, 3))), np.array([[1]]), 1e-3))
        opened.die.pulse(pulse(0.5))
        for record in ReadCell(kernel=0, row=1, col=2).run(opened.die, opened.history):
            opened.record(record)
    assert opened.outcome is not None
    assert (opened.outcome.status, opened.outcome.exit_code) == (Status.SUCCESS, ExitCode.GOOD)
    with SealedDie(tmp_path / "dies" / "die.h5") as sealed:
        assert [(o.stage, o.kind) for o in sealed.operations()] == [
            (STAGE, "sense"),
            (STAGE, "pulse"),
            (STAGE, "sense"),
        ]
        table = sealed.table("cell_reading")
        assert (table["row"].tolist(), table["col"].tolist()) == ([1], [2])
        assert sealed.meta["kind"] == "by hand"
        kinds = [event.kind for event in sealed.events()]
        assert kinds == ["approached", "die_ended"]
    assert reading.current.shape == (1, 1)


def test_what_is_beyond_the_limits_ends_the_session_and_is_raised(tmp_path: Path) -> None:
    opened = Session(job(tmp_path), Simulated())
    with pytest.raises(LimitError), opened:
        opened.die.pulse(pulse(0.9))
    assert opened.outcome is not None
    assert opened.outcome.exit_code == ExitCode.STOPPED
    with SealedDie(tmp_path / "dies" / "die.h5") as sealed:
        (end,) = [event.body for event in sealed.events() if event.kind == "die_ended"]
        assert end["outcome"] == "abort"


def test_a_body_that_gives_no_die_and_one_that_cannot_be_left(tmp_path: Path) -> None:
    class Gone(Simulated):
        def approach(self, subject: Site, say: object = None) -> None:  # type: ignore[override]
            raise LimitError("distance", 3.0, 2.0, "m")

    class Live(Simulated):
        def leave(self) -> None:
            raise RuntimeError("the output does not switch off")

    gone = Session(job(tmp_path / "gone"), Gone())
    with pytest.raises(LimitError), gone:
        raise AssertionError("nothing is done on a die that is not there")
    assert gone.outcome is not None
    assert gone.outcome.exit_code == ExitCode.STOPPED
    live = Session(job(tmp_path / "live"), Live(), Stop())
    with pytest.raises(RuntimeError, match="switch off"), live:
        live.die.pulse(pulse(0.4))
    assert live.outcome is not None
    assert (live.outcome.exit_code, live.outcome.status) == (ExitCode.NOT_OFF, Status.FAIL)
    assert (tmp_path / "live" / "dies" / "die.h5").is_file()
