"""From a bench file to a die under needles: drivers over transports, put together and asked who they are.

Opening reads and changes nothing. The transports come from a function, so that the same bench is a real one (VISA),
its twin over sockets, or its twin in this process.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from types import TracebackType
from typing import Any, Self

from instruments.bench import Bench, Entry, ManualEntry, MatrixEntry, OtherEntry, SentioEntry, SourceEntry
from instruments.keithley707b import Keithley707B, refuse
from instruments.keithley2600b import Keithley2600B
from instruments.manual_prober import Ask, ManualProber
from instruments.mpi_sentio import MpiSentio, SentioOptions
from instruments.probed_die import ProbedDie
from instruments.transport import Log
from labctl.core.die import Nominal
from labctl.core.errors import BenchError, InstrumentError, LabError
from labctl.core.instrument import Matrix, Prober, SourceMeasure, Transport, Wait
from labctl.core.units import Second

SENTIO_PROBE = "*RCS 1\nstatus:get_version"
"""Harmless question to a SENTIO station; it has no ``*IDN?`` before the command set is chosen."""

Connect = Callable[[str, Any], Transport]
"""From an instrument's name and its entry in the bench file to the wire to it."""


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
        )

    return connect


class Unconnected:
    """The wire of a bench that is only planned with: says so when something is sent."""

    def __init__(self, name: str) -> None:
        self.name = name

    def write(self, text: str) -> None:
        """Refuse."""
        raise InstrumentError(f"{self.name} is not connected")

    def query(self, text: str, *, wait: Wait = Wait.QUERY, extra: Second = 0.0) -> str:
        """Refuse."""
        raise InstrumentError(f"{self.name} is not connected")

    def converse(
        self, text: str, last: Callable[[str], bool], *, wait: Wait = Wait.QUERY, extra: Second = 0.0
    ) -> list[str]:
        """Refuse."""
        raise InstrumentError(f"{self.name} is not connected")

    def resync(self) -> None:
        """Refuse."""
        raise InstrumentError(f"{self.name} is not connected")

    def close(self) -> None:
        """Do nothing."""


@dataclass
class OpenBench:
    """A bench that is connected. Leaving it as a context makes it safe and closes it.

    Args:
        identities: what each instrument says it is; empty without a connection.
        wait: lets a time pass, s.
    """

    bench: Bench
    die: ProbedDie
    sources: dict[str, SourceMeasure]
    matrix: Matrix
    prober: Prober | None
    identities: dict[str, str]
    wait: Callable[[Second], None] = time.sleep

    def turn_to(self, nominal: Nominal, polarity: int = 1) -> ProbedDie:
        """Return the die interface for another die under the same needles; the bench is made safe first."""
        self.die.idle()
        self.die = ProbedDie(
            self.bench, self.sources, self.matrix, self.prober, nominal, polarity=polarity, wait=self.wait
        )
        self.die.idle()
        return self.die

    def off(self) -> None:
        """Be safe and verified so: 0 V, relays open, outputs off. The needles stay where they are."""
        self.die.idle()

    def close(self) -> None:
        """End all conversations; sources that were set up are left in their session's off state.

        Every one is tried; InstrumentError with all that went wrong.
        """
        failed: list[str] = []
        parts: list[Any] = [*self.sources.values(), self.matrix, *([self.prober] if self.prober else [])]
        for part in parts:
            try:
                part.close()
            except LabError as error:
                failed.append(str(error))
        if failed:
            raise InstrumentError("; ".join(failed))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.off()
        finally:
            self.close()


def open_bench(
    bench: Bench,
    nominal: Nominal,
    *,
    connect: Connect | None = None,
    polarity: int = 1,
    ask: Ask | None = None,
    wait: Callable[[Second], None] = time.sleep,
) -> OpenBench:
    """Connect every instrument of a bench file and return it; nothing is changed and nothing moves.

    Args:
        nominal: conductances of the die's cells, which choose the measure ranges.
        connect: makes the wires; None is VISA.
        polarity: of the die.
        ask: puts a sentence to the operator; needed with a manual prober.
        wait: lets a time pass, s.

    Raises:
        BenchError: the file and what answers do not fit.
        InstrumentError: an instrument does not answer; those already connected are closed again.
    """
    found = _assemble(bench, nominal, connect or visa(), polarity, ask, wait)
    parts: list[Any] = [*found.sources.values(), found.matrix, *([found.prober] if found.prober else [])]
    try:
        found.identities.update({part.name: part.connect() for part in parts})
    except BaseException:
        with contextlib.suppress(LabError):
            found.close()
        raise
    return found


def planned_die(bench: Bench, nominal: Nominal, polarity: int = 1) -> ProbedDie:
    """Return the die of a bench that is not connected: `check` works, everything else refuses."""
    return _assemble(
        bench, nominal, lambda name, entry: Unconnected(name), polarity, lambda text: False, time.sleep
    ).die


def make_safe(bench: Bench, *, connect: Connect | None = None) -> None:
    """Have every source of a bench off and then every relay open, whatever state it is in; the needles stay.

    Each instrument is connected and tried by itself, so that one that does not answer keeps no other from being made
    safe. Relays open only when every source is verified off.

    Raises:
        InstrumentError: what could not be verified, by name; it needs a person.
    """
    connect = connect or visa()
    failed: list[str] = []

    def attempt(name: str, entry: Entry, act: Callable[[Any], None]) -> None:
        try:
            driver = driver_of(name, entry, connect, None)
            try:
                driver.connect()
                act(driver)
            finally:
                driver.close()
        except LabError as error:
            failed.append(f"{name}: {error}")

    wired = {channel.partition(".")[0] for channel in bench.wiring.channels}
    for name, entry in bench.instruments.items():
        if name in wired:
            attempt(name, entry, lambda source: source.off(bench.limits.ramp_rate))
    for name, entry in bench.instruments.items():
        if isinstance(entry, MatrixEntry) and not failed:
            attempt(name, entry, _open_all)
    if failed:
        raise InstrumentError(f"the bench is NOT verified safe: {'; '.join(failed)}; relays stay as they are")


def isolate(bench: Bench, *, connect: Connect | None = None) -> str:
    """Part the die from sources that could not be verified off: every relay open, then the needles up.

    The last resort, when `make_safe` has failed: relays and needles wear when they move under current, and the die is
    what cannot be replaced. Never raises; returns what was done and what was not, in operator words.
    """
    connect, said = connect or visa(), []
    for name, entry in bench.instruments.items():
        if not isinstance(entry, MatrixEntry | SentioEntry):
            continue
        try:
            driver = driver_of(name, entry, connect, None)
            try:
                driver.connect()
                if isinstance(entry, MatrixEntry):
                    _open_all(driver)
                else:
                    driver.guard = lambda: None
                    driver.separate()
                said.append(f"{name}: " + ("relays open" if isinstance(entry, MatrixEntry) else "needles up"))
            finally:
                driver.close()
        except LabError as error:
            said.append(f"{name}: {error}")
    return "; ".join(said)


def _open_all(matrix: Any) -> None:
    """Open every relay of a matrix whose sources are all verified off."""
    matrix.guard = lambda: None
    matrix.route(())
    if matrix.closed():
        raise InstrumentError("relays are still closed")


def driver_of(name: str, entry: Entry, wire: Connect, ask: Ask | None) -> Any:
    """Return the driver of an entry of the bench file, over the wire that `wire` makes."""
    match entry:
        case SourceEntry(model=model, output_enable=enable, session_off=night):
            return Keithley2600B(wire(name, entry), name, model=model, output_enable=enable, session_off=night)
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
            return _other(name, entry)(wire(name, entry), name, **entry.options)


def _assemble(
    bench: Bench, nominal: Nominal, connect: Connect, polarity: int, ask: Ask | None, wait: Callable[[Second], None]
) -> OpenBench:
    sources: dict[str, SourceMeasure] = {}
    matrices: list[Matrix] = []
    probers: list[Prober] = []
    wires: list[Transport] = []

    def wire(name: str, entry: Any) -> Transport:
        wires.append(connect(name, entry))
        return wires[-1]

    try:
        for name, entry in bench.instruments.items():
            made = driver_of(name, entry, wire, ask)
            if isinstance(made, SourceMeasure):
                sources[name] = made
            elif isinstance(made, Matrix):
                matrices.append(made)
            else:
                probers.append(made)
        if len(matrices) != 1 or len(probers) > 1:
            raise BenchError(f"a bench has one matrix and at most one prober, not {len(matrices)} and {len(probers)}")
        prober = probers[0] if probers else None
        die = ProbedDie(bench, sources, matrices[0], prober, nominal, polarity=polarity, wait=wait)
    except BaseException:
        for made_wire in wires:
            with contextlib.suppress(LabError):
                made_wire.close()
        raise
    return OpenBench(bench, die, sources, matrices[0], prober, {}, wait)


def _other(name: str, entry: OtherEntry) -> Any:
    """Return somebody else's driver class; BenchError if none is installed under that name."""
    known = entry_points(group="labctl.instruments")
    if entry.driver not in known.names:
        ours = "keithley2600b, keithley707b, mpi_sentio, manual_prober"
        theirs = ", ".join(sorted(known.names))
        raise BenchError(
            f"{name}: driver '{entry.driver}' is not installed; there are {ours}{', ' if theirs else ''}{theirs}"
        )
    return known[entry.driver].load()
