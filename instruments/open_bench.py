"""From a bench file to a die under needles: drivers over transports, assembled and identified.

Opening reads and changes nothing. The transports come from a function, so that the same bench is a real one (VISA),
its twin over sockets, or its twin in this process.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import TracebackType
from typing import Any, Self, cast

from instruments.at_rest import refuse_outputs_on
from instruments.bench import Bench
from instruments.calibration import calibration_text
from instruments.drivers import Connect, Planned, close_all, driver_of, visa, warnings_of
from instruments.entry import Entry
from instruments.interfaces import has_method, lacking
from instruments.manual_prober import Ask
from instruments.probed_die import ProbedDie
from instruments.serials import require_serials
from labctl.core.bias import Nominal
from labctl.core.driver import DriverKind, Wire
from labctl.core.errors import BenchError, InstrumentError, LabError
from labctl.core.plugins import BODIES, find
from labctl.core.prober import Prober
from labctl.core.pulse_source import PulseSource
from labctl.core.source import SourceMeasure
from labctl.core.switch_matrix import Equipped, Matrix
from labctl.core.transport import Transport
from labctl.core.units import Second


@dataclass
class OpenBench:
    """A bench that is connected. Leaving it as a context makes it safe and closes it.

    Args:
        identities: identity of each instrument; empty without a connection.
        calibrations: what is known of the calibration of each instrument, of those of which anything is.
        old_errors: errors that stood in the queue of an instrument when it was connected, of those that had any.
        wait: waits for a time, s.
        permit: raises when nothing may be energised.
    """

    bench: Bench
    die: ProbedDie
    sources: dict[str, SourceMeasure]
    matrices: dict[str, Matrix]
    prober: Prober | None
    pulse_sources: dict[str, PulseSource]
    identities: dict[str, str]
    wait: Callable[[Second], None] = time.sleep
    permit: Callable[[], None] = lambda: None
    old_errors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    calibrations: dict[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> list[Any]:
        """All its drivers: sources, matrices, prober, pulse sources."""
        prober = [self.prober] if self.prober else []
        return [*self.sources.values(), *self.matrices.values(), *prober, *self.pulse_sources.values()]

    def turn_to(self, nominal: Nominal, polarity: int = 1) -> ProbedDie:
        """Return the die interface for another die under the same needles; the bench is made safe first.

        Its state goes on, but for the needles, which count as moved.
        """
        self.die.idle()
        self.die.state.another_die()
        self.die = _probed_die()(
            self.bench,
            self.sources,
            self.matrices,
            self.prober,
            nominal,
            polarity=polarity,
            wait=self.wait,
            state=self.die.state,
            pulse_sources=self.pulse_sources,
        )
        return self.die

    def warnings(self) -> list[str]:
        """Return what its instruments have warned of since the last call."""
        return warnings_of(self.parts)

    def off(self) -> None:
        """Make the bench safe, verified: 0 V, relays open, outputs off. The needles stay where they are."""
        self.die.idle()

    def close(self) -> None:
        """Close all connections; sources that were set up are left in their session's off state.

        Every one is tried; InstrumentError with all errors.
        """
        close_all(self.parts)

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
    permit: Callable[[], None] = lambda: None,
    today: Callable[[], date] = date.today,
) -> OpenBench:
    """Connect every instrument of a bench file and return it; nothing is set and nothing moves.

    Error queues are read, which empties them: what stood there belongs to nobody here. A bench that is not at rest is
    refused: the effect of an output that is on is not known here.

    Args:
        nominal: conductances of the die's cells, which choose the measure ranges.
        connect: makes the transports; None is VISA.
        polarity: of the die.
        ask: puts a sentence to the operator; needed with a manual prober.
        wait: waits for a time, s.
        permit: raises when nothing may be energised; called before anything is connected and before each operation.
        today: which calibrations are overdue is judged by.

    Raises:
        BenchError: the file does not fit the instruments, one has another serial number, a matrix lacks a card that
            the wiring uses, or an output is on.
        InstrumentError: an instrument does not answer; those already connected are closed again.
        SwitchedOff: by `permit`.
    """
    permit()
    opened = _connected(bench, nominal, connect or visa(), polarity, ask, wait, permit)
    try:
        opened.identities.update({part.name: part.connect() for part in opened.parts})
        opened.old_errors.update(
            {part.name: tuple(part.old_errors) for part in opened.parts if getattr(part, "old_errors", ())}
        )
        require_serials(bench, opened.identities)
        _require_relays(bench, opened.matrices)
        refuse_outputs_on(bench.name, {**opened.sources, **opened.pulse_sources})
        opened.calibrations.update(_calibrations(bench, opened, today()))
    except BaseException:
        with contextlib.suppress(InstrumentError):
            opened.close()
        raise
    return opened


def _calibrations(bench: Bench, opened: OpenBench, today: date) -> dict[str, str]:
    """Return what is known of the calibration of each instrument, of those of which anything is."""
    texts = {
        part.name: calibration_text(part, bench.instruments[part.name].calibration, today) for part in opened.parts
    }
    return {name: text for name, text in texts.items() if text}


def _require_relays(bench: Bench, matrices: Mapping[str, Matrix]) -> None:
    """Raise BenchError if a matrix that can be asked cannot close a crosspoint of the wiring."""
    lacking = [f"{name}: {text}" for name, matrix in matrices.items() for text in unusable_relays(bench, name, matrix)]
    if lacking:
        raise BenchError(
            f"bench '{bench.name}' has not what its file says: {'; '.join(lacking)}; nothing was changed; look at its "
            "cards, and at the wiring in the file"
        )


def unusable_relays(bench: Bench, name: str, matrix: Matrix) -> list[str]:
    """Return what of its crosspoints in the wiring a matrix cannot close, in operator words; empty if it cannot tell.

    Args:
        name: of the matrix in the bench file.
    """
    if not has_method(matrix, "unusable"):
        return []
    asked: Equipped = cast("Equipped", matrix)
    return asked.unusable({crosspoint for owner, crosspoint in bench.connections.ends if owner == name})


def planned_die(bench: Bench, nominal: Nominal, polarity: int = 1) -> ProbedDie:
    """Return the die of a bench that is not connected: `check` works, everything else refuses.

    No driver is made: what is planned with are the capabilities that drivers declare.
    """
    return _assemble(bench, nominal, Planned, polarity, time.sleep, lambda: None).die


def _connected(
    bench: Bench,
    nominal: Nominal,
    connect: Connect,
    polarity: int,
    ask: Ask | None,
    wait: Callable[[Second], None],
    permit: Callable[[], None],
) -> OpenBench:
    """Return the bench with a driver for each instrument; if one cannot be made, those before it are closed."""
    opened: list[Any] = []

    def transport(name: str, entry: Entry) -> Any:
        connection = connect(name, entry)
        if isinstance(connection, Transport):
            opened.append(connection)
        return connection

    def make(name: str, entry: Entry) -> Any:
        driver, kind = driver_of(name, entry, transport, ask), entry.declaration.kind
        if entry.declaration.wire is Wire.NONE:
            opened.append(driver)
        if missing := lacking(driver, kind):
            raise BenchError(f"{name}: driver '{entry.driver}' is a {kind} and lacks {', '.join(missing)}")
        return driver

    try:
        return _assemble(bench, nominal, make, polarity, wait, permit)
    except BaseException:
        for part in opened:
            with contextlib.suppress(LabError):
                part.close()
        raise


def _assemble(
    bench: Bench,
    nominal: Nominal,
    make: Callable[[str, Entry], Any],
    polarity: int,
    wait: Callable[[Second], None],
    permit: Callable[[], None],
) -> OpenBench:
    sources: dict[str, SourceMeasure] = {}
    matrices: dict[str, Matrix] = {}
    probers: list[Prober] = []
    pulse_sources: dict[str, PulseSource] = {}
    for name, entry in bench.instruments.items():
        driver = make(name, entry)
        match entry.declaration.kind:
            case DriverKind.SOURCE:
                sources[name] = driver
            case DriverKind.MATRIX:
                matrices[name] = driver
            case DriverKind.PROBER:
                probers.append(driver)
            case DriverKind.PULSES:
                pulse_sources[name] = driver
    prober = probers[0] if probers else None
    die = _probed_die()(
        bench,
        sources,
        matrices,
        prober,
        nominal,
        polarity=polarity,
        wait=wait,
        permit=permit,
        pulse_sources=pulse_sources,
    )
    return OpenBench(bench, die, sources, matrices, prober, pulse_sources, {}, wait, permit)


def _probed_die() -> type[ProbedDie]:
    """Return the die that instruments add up to, as it is registered under `labctl.bodies`."""
    body: type[ProbedDie] = find(BODIES, "probed").load()
    return body
