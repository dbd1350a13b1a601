"""From an entry of the bench file to a driver over a transport, and the kind of a driver: source, matrix, prober.

Code that acts on all sources or on all matrices asks for the kind, which follows from a driver's interface, so that a
third-party driver is treated like ours. A third-party driver may raise anything: it is reported as an error of that
driver, by name. One module of 370 lines: making a driver, its kind, and `ThirdPartyDriver` need each other.
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
"""Entry point group of third-party drivers."""
SENTIO_PROBE = "*RCS 1\nstatus:get_version"
"""Harmless query of a SENTIO station; it has no ``*IDN?`` before the command set is chosen."""

Connect = Callable[[str, Any], Transport]
"""From an instrument's name and its entry in the bench file to the transport, which opens when it is first used."""


class DriverKind(StrEnum):
    """Kind of a driver."""

    SOURCE = "source"
    MATRIX = "matrix"
    PROBER = "prober"


_SAFETY_METHODS = {
    DriverKind.SOURCE: (("off", "output"), ("off", "run")),
    DriverKind.MATRIX: (("route",),),
    DriverKind.PROBER: (("separate",),),
}
"""Methods by which a driver is made safe; any one of the groups identifies its kind."""
_INTERFACE = {
    DriverKind.SOURCE: ("capabilities", "connect", "state", "prepare", "output", "run", "off", "verify_off", "close"),
    DriverKind.MATRIX: ("connect", "closed", "route", "close"),
    DriverKind.PROBER: ("connect", "step", "contact", "separate", "in_contact", "separated", "close"),
}
"""Methods that a driver of each kind needs for operation; making it safe needs fewer."""


def kind_of(driver: Any) -> DriverKind | None:
    """Return the kind of a driver, or of its class, by its methods; None if it is of no kind.

    >>> kind_of(Keithley2600B), kind_of(ManualProber), kind_of(int)
    (<DriverKind.SOURCE: 'source'>, <DriverKind.PROBER: 'prober'>, None)
    """
    for kind, groups in _SAFETY_METHODS.items():
        if any(all(_can(driver, method) for method in methods) for methods in groups):
            return kind
    return None


def lacking(driver: Any, kind: DriverKind) -> list[str]:
    """Return the methods of the interface of its kind that a driver lacks.

    >>> lacking(Keithley707B, DriverKind.MATRIX)
    []
    """
    return [name for name in _INTERFACE[kind] if not _has(driver, name)]


def _has(driver: Any, name: str) -> bool:
    """Return whether a driver has an attribute; True if reading it raises another error."""
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
    """Return whether a driver has a method; True if a property of that name raises another error."""
    declared = _on_class(driver, method)
    if declared is not None:
        return callable(declared)
    try:
        return callable(getattr(driver, method, None))
    except Exception:
        return True


def factory_of(name: str, entry: Entry) -> Callable[..., Any]:
    """Return the class of an entry's driver, or the factory of a third-party entry point.

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
            return _third_party_factory(name, entry)


def kinds(bench: Bench) -> Mapping[str, DriverKind | None]:
    """Return the kind of each instrument of a bench file, without connecting; None if only the driver itself has it.

    Raises:
        BenchError: a driver is not installed.
    """
    return {name: kind_of(factory_of(name, entry)) for name, entry in bench.instruments.items()}


def has_prober(bench: Bench) -> bool:
    """Return whether a bench has a prober, motorised or manual; True if a kind is not known without the driver.

    Raises:
        BenchError: a driver is not installed.
    """
    return any(kind in (DriverKind.PROBER, None) for kind in kinds(bench).values())


def driver_of(name: str, entry: Entry, connect: Connect, ask: Ask | None) -> Any:
    """Return the driver of an entry of the bench file, over the transport that `connect` makes.

    Raises:
        BenchError: no such driver, options that it does not take, or a manual prober without an operator to ask.
        InstrumentError: a third-party driver raised another error.
    """
    match entry:
        case SourceEntry(model=model, output_enable=enable, session_off=state):
            return Keithley2600B(connect(name, entry), name, model=model, output_enable=enable, session_off=state)
        case MatrixEntry(model=model):
            return Keithley707B(connect(name, entry), name, model=model)
        case SentioEntry():
            options = SentioOptions.model_validate({k: getattr(entry, k) for k in SentioOptions.model_fields})
            return MpiSentio(connect(name, entry), name, options, refuse)
        case ManualEntry():
            if ask is None:
                raise BenchError(f"{name} is moved by hand, and there is no operator to ask")
            return ManualProber(ask, name, refuse)
        case OtherEntry():
            return ThirdPartyDriver(name, entry, connect(name, entry))


def probe_of(entry: Entry) -> str | None:
    """Return the harmless query that an instrument is sent after opening; None if it has no transport."""
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


class ThirdPartyDriver:
    """Proxy of a third-party driver: passes its attributes on; its errors and bad replies become InstrumentErrors.

    Args:
        name: in the bench file.
        entry: its entry there; `options` go to the driver as keywords, after the transport and the name.
        transport: to the instrument.

    Raises:
        BenchError: it is not installed.
        InstrumentError: its construction failed.
    """

    emergency_open = None
    """Not passed on: a third-party matrix is opened by `route` and verified by `closed`."""

    def __init__(self, name: str, entry: OtherEntry, transport: Transport) -> None:
        hold = object.__setattr__
        hold(self, "_title", f"{name}: its driver '{entry.driver}', which is not part of this suite,")
        hold(self, "_transport", transport)
        hold(self, "_connected", False)
        factory = _third_party_factory(name, entry)
        with self._errors_named("when it was made"):
            hold(self, "_driver", factory(transport, name, **entry.options))

    def connect(self) -> str:
        """Read identity and state; return the identity."""
        with self._errors_named("in connect()"):
            identity = str(self._driver.connect())
        object.__setattr__(self, "_connected", True)
        return identity

    def emergency_off(self) -> dict[str, ChannelState]:
        """Switch a source off as fast as its driver can, and verify; no query goes over the transport before.

        Its own emergency method comes first, if it has one. If that fails or is missing, it is connected if necessary,
        errors ignored, and `off` is called. It is verified by `verify_off`, or by `state` if that is missing.
        """
        if isinstance(self._transport, LineTransport):
            self._transport.ask_nothing_first()
        before: Any = {}
        try:
            before = self.__getattr__("emergency_off")()
            self._verify_off()
        except (AttributeError, LabError):
            if not self._connected:
                with suppress(LabError):
                    self.connect()
            self.__getattr__("off")()
            self._verify_off()
        if not isinstance(before, Mapping):
            return {}
        return {channel: state for channel, state in before.items() if isinstance(state, ChannelState)}

    def _verify_off(self) -> None:
        """Verify that it is off; InstrumentError if it is not, or cannot report it."""
        if _can(self._driver, "verify_off"):
            if self.__getattr__("verify_off")() is False:
                raise InstrumentError(f"{self._title} reports that it is NOT off")
            return
        if not _can(self._driver, "state"):
            raise InstrumentError(f"{self._title} has neither verify_off() nor state(): whether it is off is not known")
        for channel, state in self.__getattr__("state")().items():
            if state.output or not abs(state.level) <= 1e-6:
                raise InstrumentError(f"{self._title} reports that {channel} is on at {state.level:.6g} V")

    @contextmanager
    def _errors_named(self, where: str) -> Iterator[None]:
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
            with self._errors_named(f"at {attribute}"):
                raise error
        if not callable(value):
            return value

        def call(*arguments: Any, **keywords: Any) -> Any:
            with self._errors_named(f"in {attribute}()"):
                reply = value(*arguments, **keywords)
                return _CHECKED[attribute](reply) if attribute in _CHECKED else reply

        return call

    def __setattr__(self, attribute: str, value: Any) -> None:
        setattr(self._driver, attribute, value)


def _crosspoints(reply: Any) -> frozenset[str]:
    """Return the reply of `closed` as a set; TypeError if it is no collection of texts."""
    if isinstance(reply, str) or not all(isinstance(crosspoint, str) for crosspoint in reply):
        raise TypeError(f"{reply!r} is no collection of crosspoints")
    return frozenset(reply)


def _states(reply: Any) -> Mapping[str, ChannelState]:
    """Return the reply of `state`; TypeError if it is no mapping from channels to their states."""
    if not isinstance(reply, Mapping) or not all(isinstance(state, ChannelState) for state in reply.values()):
        raise TypeError(f"{reply!r} is no mapping from channels to ChannelState")
    return reply


def _boolean(reply: Any) -> bool:
    """Return True or False; TypeError for anything else, such as None."""
    if not isinstance(reply, bool):
        raise TypeError(f"{reply!r} is neither True nor False")
    return reply


_CHECKED: Mapping[str, Callable[[Any], Any]] = {
    "closed": _crosspoints,
    "state": _states,
    "in_contact": _boolean,
    "separated": _boolean,
}
"""Type checks of the replies of a third-party driver on which safety depends."""


class Unconnected:
    """Transport of a bench that is only planned with; refuses every message."""

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


def _third_party_factory(name: str, entry: OtherEntry) -> Callable[..., Any]:
    """Return the factory of a third-party driver."""
    installed = entry_points(group=GROUP)
    if entry.driver not in installed.names:
        own = ("keithley2600b", "keithley707b", "mpi_sentio", "manual_prober")
        names = ", ".join((*own, *sorted(installed.names)))
        raise BenchError(f"{name}: driver '{entry.driver}' is not installed; there are {names}")
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
