"""The events of journals: one frozen dataclass each, which is the row that writers write and readers read.

`RunEvent`s are rows of the run's own journal, `DieEvent`s those of the journal of a die. A row holds the kind and, as
JSON, the fields of the class; fields at their default are left out. An event of a kind that is not declared here is
kept as an `UnknownEvent`.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum, StrEnum
from types import NoneType, UnionType
from typing import Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

from labctl.core.die_state import State
from labctl.core.errors import StorageError
from labctl.core.exit_codes import Status
from labctl.core.units import Second


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event; `kind` is its name in the journal.

    Args:
        whole: the field that is the whole body of the row, where it is a mapping of whatever there is.
    """

    kind: ClassVar[str]
    whole: ClassVar[str] = ""
    kinds: ClassVar[dict[str, type["Event"]]] = {}
    """The events of a family by kind."""

    def __init_subclass__(cls) -> None:
        """Add an event to its family."""
        if "kind" in vars(cls):
            cls.kinds[cls.kind] = cls

    @property
    def body(self) -> dict[str, Any]:
        """The fields that are not at their default."""
        if self.whole:
            return dict(getattr(self, self.whole))
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {f.name: values[f.name] for f in fields(self) if not _is_default(values[f.name], f)}


@dataclass(frozen=True)
class UnknownEvent:
    """An event of a kind that this version does not know."""

    kind: str
    body: Any = None


class RunEvent(Event):
    """An event of a run."""

    kinds: ClassVar[dict[str, type[Event]]] = {}


class DieEvent(Event):
    """An event of a die."""

    kinds: ClassVar[dict[str, type[Event]]] = {}


Family = TypeVar("Family", bound=Event)
_UNIONS = (Union, UnionType)
_HINTS: dict[type[Event], dict[str, Any]] = {}


def parse(family: type[Family], kind: str, body: Any) -> Family | UnknownEvent:
    """Return the event of a row.

    Raises:
        StorageError: the body is not that of the kind.
    """
    declared = family.kinds.get(kind)
    if declared is None or not issubclass(declared, family):
        return UnknownEvent(kind, body)
    if not isinstance(body, Mapping):
        raise StorageError(f"the event '{kind}' holds {body!r:.80}, expected fields by name")
    if declared.whole:
        return declared(**{declared.whole: body})
    values: dict[str, Any] = {}
    for f in fields(declared):
        if f.name in body:
            values[f.name] = _read(_hints(declared)[f.name], body[f.name], f"{kind}.{f.name}")
        elif f.default is MISSING and f.default_factory is MISSING:
            raise StorageError(f"the event '{kind}' has no '{f.name}'; another version of this program wrote it")
    return declared(**values)


def _hints(declared: type[Event]) -> dict[str, Any]:
    if declared not in _HINTS:
        _HINTS[declared] = get_type_hints(declared)
    return _HINTS[declared]


def _is_default(value: Any, declared: Any) -> bool:
    if declared.default_factory is not MISSING:
        return isinstance(value, Mapping | tuple) and not value
    default = declared.default
    return value is default or (isinstance(value, str | int | float | tuple) and value == default)


def _read(hint: Any, value: Any, name: str) -> Any:
    """Return a value of a body as its declared type; StorageError if it is none."""
    origin, parameters = get_origin(hint), get_args(hint)
    match value:
        case _ if hint is Any:
            return value
        case None if origin in _UNIONS and NoneType in parameters:
            return None
        case _ if origin in _UNIONS:
            return _read(next(p for p in parameters if p is not NoneType), value, name)
        case str() if isinstance(hint, type) and issubclass(hint, Enum):
            if value in {member.value for member in hint}:
                return hint(value)
        case int() | float() if hint is float and not isinstance(value, bool):
            return float(value)
        case str() | bool() | int() if type(value) is hint:
            return value
        case list() | tuple() if origin is tuple:
            inner = (parameters[0],) * len(value) if parameters[-1] is Ellipsis else parameters
            if len(inner) == len(value):
                return tuple(_read(i, v, f"{name}[{k}]") for k, (i, v) in enumerate(zip(inner, value, strict=True)))
        case Mapping() if origin is Mapping:
            return {k: _read(parameters[1], v, f"{name}.{k}") for k, v in value.items()}
    raise StorageError(f"'{name}' of an event is {value!r:.80}; another version of this program wrote it")


class Level(StrEnum):
    """How much an event matters, the least first."""

    DIE = "die"
    NOTE = "note"
    DECISION = "decision"
    WARNING = "warning"
    ALARM = "alarm"


class RequestKind(StrEnum):
    """What somebody asked of a run; OFF: the bench was switched off."""

    STOP = "stop"
    SKIP = "skip"
    OFF = "off"


class WorkerFate(StrEnum):
    """What the watchdog saw of the process that owns the instruments, or did to the bench after it."""

    DIED = "died"
    HUNG = "hung"
    SAFE = "safe"
    UNSAFE = "unsafe"


class GuardFate(StrEnum):
    """What the guard of a bench did when every process of the run was gone; LEFT: somebody else held the bench."""

    SAFE = "safe"
    UNSAFE = "unsafe"
    LEFT = "left"


# the run


@dataclass(frozen=True, kw_only=True)
class DieMoved(RunEvent):
    """A die goes from one state to another; what is None stays what it was in this try.

    Args:
        seconds: working time since the state before, s.
        hard: hard bin; `bin` the soft one, named after the `rule` that gave it.
        sha256: of its sealed file.
        figures: figures of merit by name.
    """

    kind: ClassVar[str] = "state"
    die: str
    state: State
    was: State = State.PENDING
    try_no: int = 1
    reason: str = ""
    seconds: float = 0.0
    exit_code: int | None = None
    sha256: str | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    bin: str | None = None
    hard: int | None = None
    rule: str | None = None


@dataclass(frozen=True, kw_only=True)
class SealedAgain(RunEvent):
    """A sealed file that was damaged or gone was made again from the journal of its die; `sha256` is the new one's."""

    kind: ClassVar[str] = "sealed again"
    die: str
    sha256: str
    try_no: int = 1


@dataclass(frozen=True, kw_only=True)
class Pruned(RunEvent):
    """Journals of dies are dropped, because their sealed files hold the same; written before the first of them goes.

    Args:
        dies: tries of dies, as the folders of their journals are called.
        bytes: that their files had.
        by: who asked for it.
    """

    kind: ClassVar[str] = "pruned"
    dies: tuple[str, ...]
    bytes: int
    by: str = ""


@dataclass(frozen=True, kw_only=True)
class StageBegun(RunEvent):
    """A die goes on to the procedure `stage`."""

    kind: ClassVar[str] = "stage"
    die: str
    stage: str
    try_no: int = 1


@dataclass(frozen=True, kw_only=True)
class Resumed(RunEvent):
    """A session takes the run up again.

    Args:
        argv: its command line.
        only: names of the dies that it is about, empty for all.
        accepted: changes since the run began that the operator accepted, in words.
    """

    kind: ClassVar[str] = "resumed"
    argv: tuple[str, ...] = ()
    pid: int = 0
    reason: str = ""
    only: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Alarm(RunEvent):
    """Something that the operator should know; `die` is "" if it is about none."""

    kind: ClassVar[str] = "alarm"
    text: str
    die: str = ""
    level: Level = Level.ALARM


@dataclass(frozen=True, kw_only=True)
class Requested(RunEvent):
    """Somebody asked the run to stop or to skip a die, or switched its bench off."""

    kind: ClassVar[str] = "request"
    what: RequestKind
    die: str = ""
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class BenchOpened(RunEvent):
    """The bench is open; `identities` is what its instruments answered.

    Args:
        old_errors: errors that stood in the queue of an instrument before it was used, by its name.
    """

    kind: ClassVar[str] = "bench"
    identities: Mapping[str, str]
    text: str = ""
    old_errors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MadeSafe(RunEvent):
    """The bench was made safe before the run went on; `met` names what was on or closed before, by output."""

    kind: ClassVar[str] = "made_safe"
    text: str
    met: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GuardActed(RunEvent):
    """The guard of the bench acted, because every process of the run was gone.

    Args:
        text: what was verified, what was not, or who holds the bench.
        met: what was on or closed before, by output.
        seconds: from the end of the last process until this was known, s.
        pid: of the guard.
    """

    kind: ClassVar[str] = "guard"
    what: GuardFate
    text: str = ""
    met: Mapping[str, str] = field(default_factory=dict)
    seconds: Second = 0.0
    pid: int = 0


@dataclass(frozen=True, kw_only=True)
class RuleBroken(RunEvent):
    """A stop rule ends the run."""

    kind: ClassVar[str] = "rule"
    rule: str
    text: str


@dataclass(frozen=True, kw_only=True)
class VisitBegun(RunEvent):
    """The reference die is measured again under the name `die`.

    Args:
        dies: folders of the dies measured since the visit before.
    """

    kind: ClassVar[str] = "visit"
    die: str
    at: tuple[int, int]
    dies: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VisitJudged(RunEvent):
    """A visit of the reference die has a result.

    Args:
        values: its figures of merit by name, in SI units.
        drift: their relative changes since the first visit.
        ok: no change is larger than the campaign allows.
    """

    kind: ClassVar[str] = "golden"
    die: str
    ok: bool
    text: str
    values: Mapping[str, float] = field(default_factory=dict)
    drift: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DiesInDoubt(RunEvent):
    """The figures of dies are in doubt."""

    kind: ClassVar[str] = "suspect"
    dies: tuple[str, ...]
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class WatchdogActed(RunEvent):
    """The process that owns the instruments failed, or the bench was made safe after it, `seconds` later."""

    kind: ClassVar[str] = "watchdog"
    what: WorkerFate
    die: str = ""
    text: str = ""
    seconds: Second | None = None


@dataclass(frozen=True, kw_only=True)
class ClockJumped(RunEvent):
    """The clock was set by `step` s, or the computer slept for `gap` s."""

    kind: ClassVar[str] = "clock"
    text: str
    gap: Second = 0.0
    step: Second = 0.0


@dataclass(frozen=True, kw_only=True)
class FaultInjected(RunEvent):
    """A fault of a rehearsed night has happened.

    Args:
        number: in the list of the night, which ``run.json`` has.
        what: its kind.
        instrument: it happened to, "" for the die itself.
        text: details.
    """

    kind: ClassVar[str] = "fault"
    number: int
    what: str
    die: str = ""
    instrument: str = ""
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class RunEnded(RunEvent):
    """A session ended; `seconds` and `bytes` are what it took."""

    kind: ClassVar[str] = "ended"
    outcome: Status
    exit_code: int
    reason: str = ""
    seconds: Second | None = None
    bytes: int | None = None


# a die; the stage is a column of its rows


@dataclass(frozen=True, kw_only=True)
class StageStarted(DieEvent):
    """A stage begins, with these settings."""

    kind: ClassVar[str] = "stage_started"
    whole: ClassVar[str] = "settings"
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class StageEnded(DieEvent):
    """A stage ended.

    Args:
        pulses_per_cell: (kernels, n_rows, n_cols) pulses above the counting voltage so far.
        truth: arrays of a simulated die by name; logged and never used.
        trace: traceback of the exception that ended it.
    """

    kind: ClassVar[str] = "stage_ended"
    pulses_per_cell: Any = None
    truth: Mapping[str, Any] | None = None
    outcome: Status
    reason: str = ""
    trace: str = ""


@dataclass(frozen=True, kw_only=True)
class Approached(DieEvent):
    """The needles are on the die; `notes` is what was noted on the way, see `labctl.core.body.ReadyDie`."""

    kind: ClassVar[str] = "approached"
    whole: ClassVar[str] = "notes"
    notes: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ContactProved(DieEvent):
    """The needles touch at the end of a stage, proved by contact structures or by cells that conduct as before.

    Args:
        by: what proves it; "nothing" and why, where nothing can.
        resistance: of the structures by their pads, ohm.
    """

    kind: ClassVar[str] = "contact"
    by: str
    resistance: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class InstrumentWarned(DieEvent):
    """An instrument gave a warning, which ends nothing; each text once in a session."""

    kind: ClassVar[str] = "warning"
    text: str


@dataclass(frozen=True, kw_only=True)
class DieResumed(DieEvent):
    """The die goes on after row `after`; `pending` is the row of an operation whose result is lost."""

    kind: ClassVar[str] = "resumed"
    after: int
    pending: int | None = None


@dataclass(frozen=True, kw_only=True)
class DieEnded(DieEvent):
    """The work on the die ended, in this state and soft bin, with these figures of merit in SI units."""

    kind: ClassVar[str] = "die_ended"
    bin: str
    outcome: Status
    state: State
    reason: str = ""
    trace: str = ""
    figures: Mapping[str, float] | None = None
