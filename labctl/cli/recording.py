"""What was said at a bench, kept: the recording of a check, and the command that makes a test of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from labctl.core.errors import BenchError
from labctl.core.secrets import secret_in
from labctl.terminal.progress import console


@contextmanager
def recording(
    path: Path | None,
    bench: Path,
    connect: Any,
    clock: Callable[[], float],
    *,
    first_day: bool,
    settings: bool,
    simulated: bool,
) -> Iterator[Any]:
    """Yield the function that connects to an instrument and records its messages in a new file; None records nothing.

    Args:
        bench: the bench file.
        connect: as `connector` yields it.
        clock: of the times of messages, s.
        first_day: whether the assumptions are checked.
        settings: whether those are checked too that set something.
        simulated: whether it is a twin.
    """
    if path is None:
        yield connect
        return
    from instruments.drivers import visa
    from instruments.session import Session, begin, recorded

    begun = datetime.now(UTC).isoformat(timespec="seconds")
    text = bench.read_text(encoding="utf-8-sig")
    place, kind = secret_in(text)
    if kind:
        line = text[:place].count("\n") + 1
        raise BenchError(f"{bench}:{line}: found {kind}, expected none: --record keeps the whole bench file")
    session = Session(text, begun, first_day, settings, simulated)
    try:
        file = path.open("x", encoding="utf-8")
    except OSError as error:
        raise BenchError(f"--record {path}: {error.strerror}; expected the name of a new file") from error
    with file:
        begin(file, session)
        yield recorded(connect or visa(), file, clock)


def transcript(
    session: Annotated[
        Path, typer.Argument(metavar="FILE", help="what 'labctl check BENCH --record FILE' has recorded")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="TEST", help="new test module (default: test_NAME.py beside FILE)")
    ] = None,
) -> None:
    """Make a recorded session a test: pytest replays it against the drivers of that day, and any other message fails.

    The test has the whole bench file in it, and what the instruments said: addresses and serial numbers too.
    """
    from instruments.session import as_test, read_session

    path = out or session.with_name(f"test_{session.stem.replace('-', '_')}.py")
    text = as_test(read_session(session))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise BenchError(f"--out {path}: {error.strerror}; expected the name of a new file") from error
    console().print(f"{path}: run it with pytest", markup=False)
