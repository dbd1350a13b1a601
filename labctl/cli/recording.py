"""What was said at a bench, kept: the recording of a command, and the command that makes a test of it."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from labctl.core.errors import BenchError, StorageError
from labctl.core.secrets import secret_in
from labctl.terminal.progress import console

Record = Annotated[
    Path | None,
    typer.Option("--record", metavar="FILE", help="new file for every message that is sent and received"),
]

Through = Callable[[Any], Any]
"""From a function that connects to an instrument, None for VISA, to one whose messages are recorded, if any are."""


@contextmanager
def recording(
    path: Path | None,
    command: str,
    bench: Path,
    *,
    simulated: bool,
    clock: Callable[[], float] = time.monotonic,
    options: Mapping[str, Any] | None = None,
    files: Mapping[str, Path] | None = None,
) -> Iterator[Through]:
    """Yield what records in a new file whatever is sent and received; without a path, nothing.

    Args:
        command: of `labctl`, and its `options` by what they mean to a replay.
        bench: the bench file; `files` are the others that are kept, by their role.
        simulated: whether it is a twin.
        clock: of the times of messages, s.

    Raises:
        BenchError: the file is there or cannot be made, or a file to be kept has a secret in it.
        StorageError: a disk was full in the middle; the block was carried out.
    """
    if path is None:
        yield lambda connect: connect
        return
    from instruments.drivers import visa
    from instruments.session import Session, SessionFile, recorded

    begun = datetime.now(UTC).isoformat(timespec="seconds")
    kept = {role: _text(file) for role, file in (files or {}).items()}
    session = Session(command, _text(bench), begun, simulated, dict(options or {}), kept)
    try:
        file = path.open("x", encoding="utf-8")
        messages = SessionFile(file, clock)
        messages.begin(session)
    except OSError as error:
        raise BenchError(f"--record {path}: {error.strerror}; expected the name of a new file") from error
    try:
        yield lambda connect: recorded(connect or visa(), messages)
    finally:
        with suppress(OSError):
            file.close()
    if messages.failure:
        raise StorageError(f"--record {path}: {messages.failure}; messages after that are not in it")


def _text(path: Path) -> str:
    """Return the text of a file that is kept whole; BenchError if it has a secret in it."""
    text = path.read_text(encoding="utf-8-sig")
    place, kind = secret_in(text)
    if kind:
        line = text[:place].count("\n") + 1
        raise BenchError(f"{path}:{line}: found {kind}, expected none: --record keeps the whole file")
    return text


def transcript(
    session: Annotated[Path, typer.Argument(metavar="FILE", help="what a command with --record FILE has recorded")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="TEST", help="new test module (default: test_NAME.py beside FILE)")
    ] = None,
) -> None:
    """Make a recorded session a test: pytest replays it against the drivers of that day, and any other message fails.

    Sessions of check, read, pulse, map and off are recorded, with --record. A run is not: it has millions of messages.
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
