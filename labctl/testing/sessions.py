"""Recorded sessions as tests: the same command is carried out with today's drivers on the recorded replies."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from instruments.bench_file import read_bench
from instruments.check_bench import check_bench
from instruments.drivers import Connect
from instruments.emergency import make_safe
from instruments.entry import Entry
from instruments.first_day import first_day
from instruments.session import Exchange, SessionReplay
from labctl.core.errors import InstrumentError, LabError
from labctl.core.procedure import Procedure
from labctl.station import hand_session
from labctl.station.energise import energise
from labctl.station.stand_ins import with_stand_ins
from protocols.by_hand import MapCells, PulseCell, ReadCell

PROCEDURES: Mapping[str, type[Procedure]] = {"read": ReadCell, "pulse": PulseCell, "map": MapCells}
"""What the commands by hand carry out."""
SAFE_TWICE = 2
"""Times that `labctl off` makes a bench safe at most: at once, and when who held it is gone."""


def replay_session(
    bench: str,
    exchanges: Mapping[str, Sequence[Exchange]],
    folder: Path,
    *,
    command: str,
    options: Mapping[str, Any],
    files: Mapping[str, str],
    simulated: bool = False,
) -> None:
    """Carry a command out as in a recorded session, on its replies.

    Args:
        bench: text of the bench file.
        exchanges: what was sent to each instrument and what it replied, in order.
        folder: an empty one, for the files and the run.
        command: of `labctl`: check, off, read, pulse or map.
        options: of the command, as they were recorded.
        files: texts of the other files that it read, by their role.
        simulated: the session was recorded on a twin.

    Raises:
        TranscriptError: a driver sent another message than was recorded, or one of them was not sent or not read.
        AssertionError: a session of this command cannot be carried out again.
    """
    path = folder / "bench.yaml"
    path.write_text(bench, encoding="utf-8")
    for role, text in files.items():
        (folder / f"{role}.yaml").write_text(text, encoding="utf-8")
    replays = {name: SessionReplay(own, name) for name, own in exchanges.items()}

    def connect(name: str, entry: Entry) -> SessionReplay:
        if name not in replays:
            raise InstrumentError(f"{name} was not recorded")
        return replays[name]

    with suppress(LabError):  # the session may have ended with an error; the messages before it are compared
        if command in PROCEDURES:
            action = PROCEDURES[command].model_validate(options["parameters"])
            sim = "bytes" if simulated else None
            spec = hand_session.prepare(path, folder / "die.yaml", action, sim, options["seed"])
            hand_session.replay(spec, action, folder / "run", connect)
        else:
            loaded = read_bench(path, to_make_safe=command == "off").value
            at = with_stand_ins(loaded) if simulated else loaded
            if command == "check":
                _check(at, connect, options)
            elif command == "off":
                _off(at, connect, replays)
            else:
                raise AssertionError(f"a session of '{command}' cannot be carried out again")
    for replay in replays.values():
        replay.finish()


def _check(bench: Any, connect: Connect, options: Mapping[str, Any]) -> None:
    """Check a bench; times are those of a clock that ticks, since findings do not decide what is sent."""
    ticks = count(0.0, 1e-3)

    def clock() -> float:
        return next(ticks)

    settings, outputs = options["settings"], options["energise"]
    check_bench(bench, connect=connect)
    if options["first_day"]:
        first_day(bench, clock=clock, connect=connect, settings=settings, energise=outputs)
    if outputs:
        energise(bench, connect=connect, clock=clock, wait=lambda seconds: None, ask=lambda text: False, real=False)


def _off(bench: Any, connect: Connect, replays: Mapping[str, SessionReplay]) -> None:
    """Make a bench safe as often as was recorded."""
    for _ in range(SAFE_TWICE):
        if any(replay.remaining for replay in replays.values()):
            with suppress(InstrumentError):
                make_safe(bench, connect=connect, wait=lambda seconds: None)
