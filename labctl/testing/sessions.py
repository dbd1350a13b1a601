"""Recorded sessions as tests: the same check is carried out with today's drivers on the recorded replies."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from instruments.bench_file import read_bench
from instruments.check_bench import check_bench
from instruments.entry import Entry
from instruments.first_day import first_day
from instruments.session import Exchange, SessionReplay
from labctl.core.errors import InstrumentError
from labctl.station.stand_ins import with_stand_ins


def replay_session(
    bench: str,
    exchanges: Mapping[str, Sequence[Exchange]],
    folder: Path,
    *,
    assumptions: bool = False,
    settings: bool = False,
    simulated: bool = False,
) -> None:
    """Check a bench as in a recorded session, on its replies.

    Args:
        bench: text of the bench file.
        exchanges: what was sent to each instrument and what it replied, in order.
        folder: an empty one, for the bench file.
        assumptions: as with `--first-day`.
        settings: as with `--settings`.
        simulated: the session was recorded on a twin.

    Raises:
        TranscriptError: a driver sent another message than was recorded, or one of them was not sent or not read.
    """
    path = folder / "bench.yaml"
    path.write_text(bench, encoding="utf-8")
    loaded = read_bench(path).value
    if simulated:
        loaded = with_stand_ins(loaded)
    replays = {name: SessionReplay(own, name) for name, own in exchanges.items()}

    def connect(name: str, entry: Entry) -> SessionReplay:
        if name not in replays:
            raise InstrumentError(f"{name} was not recorded")
        return replays[name]

    check_bench(loaded, connect=connect)
    if assumptions:
        first_day(loaded, clock=lambda: 0.0, connect=connect, settings=settings)
    for replay in replays.values():
        replay.finish()
