"""From an entry of the bench file to a driver over a wire, and what a driver is: a source, a matrix, a prober.

Whatever acts on all sources or on all matrices asks for the kind, which a driver's interface gives, so that a
stranger's driver is treated like ours. Somebody else's driver may raise anything: it is told as an error of that
driver, by name.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from importlib.metadata import entry_points
from typing import Any

from instruments.bench import Bench, Entry, ManualEntry, MatrixEntry, OtherEntry, SentioEntry, SourceEntry
from instruments.keithley707b import Keithley707B, refuse
from instruments.keithley2600b import Keithley2600B
from instruments.manual_prober import Ask, ManualProber
from instruments.mpi_sentio import MpiSentio, SentioOptions
from instruments.transport import LineTransport, Log
from labctl.core.errors import BenchError, InstrumentError, LabError
from labctl.core.source import ChannelState
from labctl.core.transport import Transport, Wait
from labctl.core.units import Second

GROUP = "labctl.instruments"
"""Entry point group of drivers that other people wrote."""
SENTIO_PROBE = "*RCS 1\nstatus:get_version"
"""Harmless question to a SENTIO station; it has no ``*IDN?`` before the command set is chosen."""

Connect = Callable[[str, Any], Transport]
"""From an instrument's name and its entry in the bench file to the wire to it, which opens when it is first used."""


class DriverKind(StrEnum):
    """What a driver is."""

    SOURCE = "source"
    MATRIX = "matrix"
    PROBER = "prober"


_MARKS = {
    DriverKind.SOURCE: (("off", "output"), ("off", "run")),
    DriverKind.MATRIX: (("route",),),
    DriverKind.PROBER: (("separate",),),
}
"""Methods that show what a driver is: those by which it is made safe. Any one of the groups will do."""
_WHOLE = {
    DriverKind.SOURCE: ("capabilities", "connect", "state", "prepare", "output", "run", "off", "verify_off", "close"),
    DriverKind.MATRIX: ("connect", "closed", "route", "close"),
    DriverKind.PROBER: ("connect", "step", "contact", "separate", "in_contact", "separated", "close"),
}
"""What a driver of each kind has to have to be worked with; it is made safe with less."""


def kind_of(driver: Any) -> DriverKind | None:
    """Return what a driver, or the class of one, is by the methods it has; None if it is nothing of a bench.

    >>> kind_of(Keithley2600B), kind_of(ManualProber), kind_of(int)
    (<DriverKind.SOURCE: 'source'>, <DriverKind.PROBER: 'prober'>, None)
    """
    for kind, groups in _MARKS.items():
        if any(all(_can(driver, method) for method in methods) for methods in groups):
            return kind
    return None


def lacking(driver: Any, kind: DriverKind) -> list[str]:
    """Return what a driver lacks of the interface of its kind.

    >>> lacking(Keithley707B, DriverKind.MATRIX)
    []
    """
    return [name for name in _WHOLE[kind] if not _has(driver, name)]


def _has(driver: Any, name: str) -> bool:
    """Return whether a driver has an attribute, whatever comes of looking at it."""
    if _on_class(driver, name) is not None:
        return True
    try:
        return hasattr(driver, name)
    except Exception:
        return True


def _on_class(driver: Any, name: str) -> Any:
    kind = driver if isinstance(driver, type) else type(getattr(driver, "_driver", driver))
    return getattr(kind, name, None)


def _can(driver: Any, method: str) -> bool:
    """Return whether a driver has a method; one that is made when it is asked for and raises something is there."""
    declared = _on_class(driver, method)
    if declared is not None:
        return callable(declared)
    try:
        return callable(getattr(driver, method, None))
    except Exception:
        return True


def factory_of(name: str, entry: Entry) -> Callable[..., Any]:
    """Return the class behind an entry, or whatever else a stranger's entry point makes its driver with.

    Raises:
        BenchError: no driver of that name is installed, or it cannot be loaded.
    """
    match entry:
        case SourceEntry():
            return Keithley2600B
        case MatrixEntry():
            return Keithley707B
        case SentioEntry():
            return MpiSentio
        case ManualEntry():
            return ManualProber
        case OtherEntry():
            return _other(name, entry)


def kinds(bench: Bench) -> Mapping[str, DriverKind | None]:
    """Return what each instrument of a bench file is, without connecting; None where only its driver can tell.

    Raises:
        BenchError: a driver is not installed.
    """
    return {name: kind_of(factory_of(name, entry)) for name, entry in bench.instruments.items()}


def has_prober(bench: Bench) -> bool:
    """Return whether something or somebody moves the needles of a bench; True where only a driver could tell.

    Raises:
        BenchError: a driver is not installed.
    """
    return any(kind in (DriverKind.PROBER, None) for kind in kinds(bench).values())


def driver_of(name: str, entry: Entry, wire: Connect, ask: Ask | None) -> Any:
    """Return the driver of an entry of the bench file, over the wire that `wire` makes.

    Raises:
        BenchError: no such driver, options that it does not take, or nobody to ask where a person moves the needles.
        InstrumentError: a stranger's driver raised something else.
    """
    match entry:
        case SourceEntry(model=model, output_enable=enable, session_off=state):
            return Keithley2600B(wire(name, entry), name, model=model, output_enable=enable, session_off=state)
        case MatrixEntry(model=model):
            return Keithley707B(wire(name, entry), name, model=model)
        case SentioEntry():
            options = SentioOptions.model_validate({k: getattr(entry, k) for k in SentioOptions.model_fields})
            return MpiSentio(wire(name, entry), name, options, refuse)
        case ManualEntry():
            if ask is None:
                raise BenchError(f"{name} is moved by hand, and there is no operator to ask")
            return ManualProber(ask, name, refuse)
        case OtherEntry():
            return Stranger(name, entry, wire(name, entry))


def probe_of(entry: Entry) -> str | None:
    """Return the harmless question that an instrument is asked after opening; None if there is no wire."""
    if isinstance(entry, ManualEntry):
        return None
    return SENTIO_PROBE if isinstance(entry, SentioEntry) else "*IDN?"


def visa(log: Callable[[str], Log] | None = None) -> Connect:
    """Return the function that connects to real addresses; `log` gives each instrument's name its log."""

    def connect(name: str, entry: Any) -> Transport:
        from instruments.visa import VisaTransport

        return VisaTransport(
            entry.resource,
            backend=entry.backend,
            probe=probe_of(entry),
            deadlines=entry.deadlines,
            log=log(name) if log else None,
            dead_socket=getattr(entry, "dead_socket", None),
        )

    return connect


class Stranger:
    """Somebody else's driver: has all that it has; what it raises or answers amiss is an InstrumentError that names it.

    Args:
        name: in the bench file.
        entry: its entry there; `options` go to the driver as keywords, after the wire and the name.
        wire: to the instrument.

    Raises:
        BenchError: it is not installed.
        InstrumentError: it raised something when it was made.
    """

    emergency_open = None
    """A stranger's matrix is told `route` and asked `closed`: what is open is never taken on its word alone."""

    def __init__(self, name: str, entry: OtherEntry, wire: Transport) -> None:
        hold = object.__setattr__
        hold(self, "_title", f"{name}: its driver '{entry.driver}', which is not part of this suite,")
        hold(self, "_wire", wire)
        hold(self, "_connected", False)
        factory = _other(name, entry)
        with self._named("when it was made"):
            hold(self, "_driver", factory(wire, name, **entry.options))

    def connect(self) -> str:
        """Read identity and state; return the identity."""
        with self._named("in connect()"):
            identity = str(self._driver.connect())
        object.__setattr__(self, "_connected", True)
        return identity

    def emergency_off(self) -> dict[str, ChannelState]:
        """Have a source off as fast as its driver can, and verified; nothing is asked of the wire before.

        Its own emergency way comes first, if it has one; where that fails or there is none it is connected if need be,
        whatever that says, and told `off`. Verified is what `verify_off`, or `state` where it has no more, says then.
        """
        if isinstance(self._wire, LineTransport):
            self._wire.ask_nothing_first()
        met: Any = {}
        try:
            met = self.__getattr__("emergency_off")()
            self._verify_off()
        except (AttributeError, LabError):
            if not self._connected:
                with suppress(LabError):
                    self.connect()
            self.__getattr__("off")()
            self._verify_off()
        return {c: s for c, s in met.items() if isinstance(s, ChannelState)} if isinstance(met, Mapping) else {}

    def _verify_off(self) -> None:
        """Have it asked whether it is off; InstrumentError if it is not, or cannot say."""
        if _can(self._driver, "verify_off"):
            if self.__getattr__("verify_off")() is False:
                raise InstrumentError(f"{self._title} says that it is NOT off")
            return
        if not _can(self._driver, "state"):
            raise InstrumentError(f"{self._title} has neither verify_off() nor state(): whether it is off is not known")
        for channel, state in self.__getattr__("state")().items():
            if state.output or not abs(state.level) <= 1e-6:
                raise InstrumentError(f"{self._title} says that {channel} is on at {state.level:.6g} V")

    @contextmanager
    def _named(self, where: str) -> Iterator[None]:
        try:
            yield
        except (LabError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise InstrumentError(f"{self._title} failed {where}: {type(error).__name__}: {error}") from error

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        driver = object.__getattribute__(self, "_driver")
        try:
            value = getattr(driver, attribute)
        except AttributeError:
            raise
        except Exception as error:
            with self._named(f"at {attribute}"):
                raise error
        if not callable(value):
            return value

        def call(*arguments: Any, **keywords: Any) -> Any:
            with self._named(f"in {attribute}()"):
                answer = value(*arguments, **keywords)
                return _ANSWERS[attribute](answer) if attribute in _ANSWERS else answer

        return call

    def __setattr__(self, attribute: str, value: Any) -> None:
        setattr(self._driver, attribute, value)


def _crosspoints(answer: Any) -> frozenset[str]:
    """Return what `closed` answers as a set; TypeError if it is no collection of texts."""
    if isinstance(answer, str) or not all(isinstance(crosspoint, str) for crosspoint in answer):
        raise TypeError(f"{answer!r} is no collection of crosspoints")
    return frozenset(answer)


def _states(answer: Any) -> Mapping[str, ChannelState]:
    """Return what `state` answers; TypeError if it is no mapping from channels to their states."""
    if not isinstance(answer, Mapping) or not all(isinstance(state, ChannelState) for state in answer.values()):
        raise TypeError(f"{answer!r} is no mapping from channels to ChannelState")
    return answer


def _truth(answer: Any) -> bool:
    """Return a yes or no; TypeError for anything else, None above all."""
    if not isinstance(answer, bool):
        raise TypeError(f"{answer!r} is neither True nor False")
    return answer


_ANSWERS: Mapping[str, Callable[[Any], Any]] = {
    "closed": _crosspoints,
    "state": _states,
    "in_contact": _truth,
    "separated": _truth,
}
"""What is made of the answers of a stranger's driver on which safety hangs."""


class Unconnected:
    """The wire of a bench that is only planned with: says so when something is sent."""

    def __init__(self, name: str) -> None:
        self.name = name

    def write(self, text: str) -> None:
        """Refuse."""
        self._refuse()

    def query(self, text: str, *, wait: Wait = Wait.QUERY, extra: Second = 0.0) -> str:
        """Refuse."""
        return self._refuse()

    def converse(
        self, text: str, last: Callable[[str], bool], *, wait: Wait = Wait.QUERY, extra: Second = 0.0
    ) -> list[str]:
        """Refuse."""
        return [self._refuse()]

    def cut_in(self, text: str, ask: str, last: Callable[[str], bool]) -> list[str]:
        """Refuse."""
        return [self._refuse()]

    def resync(self) -> None:
        """Refuse."""
        self._refuse()

    def close(self) -> None:
        """Do nothing."""

    def _refuse(self) -> str:
        raise InstrumentError(f"{self.name} is not connected")


def _other(name: str, entry: OtherEntry) -> Callable[..., Any]:
    """Return what makes somebody else's driver."""
    installed = entry_points(group=GROUP)
    if entry.driver not in installed.names:
        ours = "keithley2600b, keithley707b, mpi_sentio, manual_prober"
        theirs = ", ".join(sorted(installed.names))
        raise BenchError(
            f"{name}: driver '{entry.driver}' is not installed; there are {ours}{', ' if theirs else ''}{theirs}"
        )
    try:
        factory: Callable[..., Any] = installed[entry.driver].load()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise BenchError(
            f"{name}: driver '{entry.driver}', which is not part of this suite, cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error
    return factory
