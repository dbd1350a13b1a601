"""A die to sweep in Python: limited and journalled as in a run, simulated or on a bench.

```python
with labctl.simulated_die("die.yaml", seed=7) as die:
    reading = die.sense(labctl.Sense(bias, columns, 1e-3))
run = labctl.open_run(die.folder)
```

^C is safe: the first ends the block before the next operation, a second one in the middle of one; whatever ends the
block, every output is off, verified, and what was measured is sealed.
"""

import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import _GeneratorContextManager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast, overload

import numpy as np
from pydantic import ValidationError

from instruments.bench_file import read_bench
from instruments.board_bench import AnyBench
from labctl import files
from labctl.core.die import DieWrapper, unknown_operation
from labctl.core.errors import BenchError, LabError
from labctl.core.exit_codes import ExitCode
from labctl.core.limits import Limits
from labctl.core.operations import Attempts, Operation, Pulse, Reading, Sense, WritePlan
from labctl.core.record import Record
from labctl.core.site import Site
from labctl.core.texts import visible
from labctl.execution.recorded_die import RecordedDie
from labctl.execution.session import Session
from labctl.files.messages import unknown_key
from labctl.station import hand_session
from labctl.station.doctor import require_own_names
from labctl.station.hand_session import DIE, V_COUNT, bench_limits
from labctl.station.run_spec import IN_PYTHON, RunKind, RunSpec
from sim_backend.description import DieDescription

P = ParamSpec("P")
T = TypeVar("T")

LIMITS: Mapping[str, str] = {
    "v_towards_p": "1 V", "v_towards_ap": "1 V", "width": "10 ms", "compliance": "10 mA", "v_gate": "3.3 V"
}  # fmt: skip
"""Limits of a simulated die for which none are given; project defaults, which a default junction survives."""
PULSES_PER_CELL = 10_000
"""Pulses that a cell may get in one block."""


_WITH = "expected operations inside of 'with labctl.simulated_die(...) as die:', or 'with labctl.open_bench(...)'"


class _Block(_GeneratorContextManager[T]):
    """A block that is not open yet; whoever takes it for the die is told so."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"this is no open die, so it has no '{name}'; {_WITH}")


def _block(function: Callable[P, Iterator[T]]) -> Callable[P, _Block[T]]:
    """Make a function with one `yield` one that `with` opens."""

    @wraps(function)
    def opened(*args: P.args, **named: P.kwargs) -> _Block[T]:
        return _Block(cast("Callable[..., Generator[T, None, None]]", function), args, named)

    return opened


class OpenDie(DieWrapper[RecordedDie]):
    """The die of a session, with its verbs: `sense`, `pulse`, `program`, `check`, `idle`.

    Attributes:
        folder: of the run that the session is kept in.
        limits: beyond which an operation is refused with LimitError, before anything is energised.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session.die)
        self._session, self._ended = session, False
        self.folder, self.limits = session.job.folder, session.job.limits

    @overload
    def perform(self, operation: Sense | Pulse) -> Reading: ...
    @overload
    def perform(self, operation: WritePlan) -> Attempts: ...
    def perform(self, operation: Operation) -> Reading | Attempts:
        """Do an operation: judged by the limits, durable in the journal before it is carried out and after it."""
        if self._ended:
            raise BenchError(f"the block of this die has ended and its file is sealed, in {self.folder}; {_WITH}")
        match operation:
            case Sense() | Pulse() | WritePlan():
                return self._die.perform(operation)
        raise unknown_operation(self, operation)

    def ended(self) -> None:
        """Note that the block has ended: nothing is performed any more."""
        self._ended = True

    def record(self, record: Record) -> None:
        """Keep a record of a protocol or of one's own as a row of its table; it is on the disk when this returns."""
        self._session.record(record)

    def __repr__(self) -> str:
        kernels, rows, cols = self.geometry.shape
        return f"<die of {kernels} x {rows} x {cols} cells, kept in {self.folder}>"


@_block
def simulated_die(
    die: str | Path,
    *,
    seed: int = 0,
    limits: Limits | Mapping[str, str] | None = None,
    folder: str | Path | None = None,
) -> Iterator[OpenDie]:
    """Give a simulated die to sweep while the block lasts.

    Args:
        die: die file.
        seed: of the simulated world; the same seed and the same operations give the same readings.
        limits: as in a campaign file (``{"v_towards_p": "700 mV"}``); what is left out is as in `LIMITS`.
        folder: new folder of the run; by default one under ``runs``, named after the time.

    Raises:
        BenchError: a file or a limit is wrong, or the folder exists.
        StorageError: the folder cannot be made or written.
    """
    require_own_names()
    with files.through(files.Door()) as door:
        description = files.read(Path(die), DieDescription).value
    path = files.absolute(Path(die), files.here())
    of_run = limits if isinstance(limits, Limits) else _limits(limits or {})
    call = f"labctl.simulated_die({str(die)!r}, seed={seed})"
    spec = _spec(of_run, Site(DIE, description, _seed(seed)), {"die": path}, dict(door.kept))
    yield from _given(spec, folder, call)


@_block
def open_bench(
    bench: str | Path,
    die: str | Path,
    *,
    sim: str | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    pulses_per_cell: int = PULSES_PER_CELL,
) -> Iterator[OpenDie]:
    """Connect to a bench, or its twin, and give the die under the needles to sweep while the block lasts.

    Nothing moves: the needles stay where they are. Limits are those of the bench file.

    Args:
        bench: bench file.
        die: die file.
        sim: None for the real bench; "bytes" or "tcp" for its twin.
        seed: of the die of the twin.
        folder: new folder of the run; by default one under ``runs``, named after the time.
        pulses_per_cell: pulses above 350 mV that a cell may get in this block.

    Raises:
        BenchError: a file is wrong, the bench is held, is switched off, or has an output on.
        StorageError: the folder cannot be made or written.
        InstrumentError: an instrument does not do what it is told.
    """
    require_own_names()
    if sim not in (None, "bytes", "tcp"):
        raise BenchError(f"sim={sim!r}: expected 'bytes' or 'tcp' for the twin, None for the real bench")
    with files.through(files.Door()) as door:
        loaded, description = read_bench(Path(bench)).value, files.read(Path(die), DieDescription).value
    roles = {role: files.absolute(Path(path), files.here()) for role, path in (("bench", bench), ("die", die))}
    limits = bench_limits(loaded).model_copy(update={"pulses_per_cell": pulses_per_cell})
    call = f"labctl.open_bench({str(bench)!r}, {str(die)!r}, sim={sim!r}, seed={seed})"
    spec = _spec(limits, Site(DIE, description, _seed(seed)), roles, dict(door.kept), bench=loaded, sim=sim)
    yield from _given(spec, folder, call)


def _seed(seed: object) -> int:
    """Return the seed of a simulated world; BenchError before a folder is made."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise BenchError(f"seed={seed!r}: expected a whole number from 0")
    return int(seed)


def _limits(given: Mapping[str, str]) -> Limits:
    """Return the limits of a simulated die; BenchError if one is none."""
    values = {**LIMITS, "v_count": f"{V_COUNT} V", "pulses_per_cell": PULSES_PER_CELL, **given}
    try:
        return Limits.model_validate(values)
    except ValidationError as error:
        texts = [
            unknown_key(str(one["loc"][-1]), list(Limits.model_fields))
            if one["type"] == "extra_forbidden"
            else f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        ]
        raise BenchError(f"limits: {'; '.join(texts)}") from error


def _spec(
    limits: Limits,
    site: Site,
    roles: Mapping[str, Path],
    kept: Mapping[Path, bytes],
    bench: AnyBench | None = None,
    sim: str | None = None,
) -> RunSpec:
    spec = RunSpec(RunKind.BY_HAND, "python", site.seed, limits, (site,), (), roles, kept, bench=bench, sim=sim)
    return replace(spec, title=f"in Python on {spec.body}" if bench else "in Python, simulated")


class EndedByCaller(LabError):
    """A block was ended by an exception of its own code, which is raised again behind it."""

    exit_code = ExitCode.OPERATOR


def _given(spec: RunSpec, folder: str | Path | None, call: str) -> Iterator[OpenDie]:
    """Yield the die of a session that is open while the block lasts."""
    place, own = None if folder is None else Path(folder), None
    with hand_session.opened(spec, place, [IN_PYTHON, call], _ask, _say) as session:
        try:
            with session:
                if open_structures := session.notes.get("no_contact"):
                    _say(f"{open_structures}. What is read is no proof that the needles touch")
                die = OpenDie(session)
                try:
                    yield die
                except LabError:
                    raise
                except Exception as error:
                    own = error
                    raise EndedByCaller(f"ended by {type(error).__name__} in the block: {error}") from error
                finally:
                    die.ended()
        except EndedByCaller:
            pass
    if own is not None:
        raise own


def _say(text: str) -> None:
    print(visible(text), file=sys.stderr)


def _ask(question: str) -> bool:
    """Put a question to the operator at the bench."""
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
