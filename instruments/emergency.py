"""Make a bench safe, in any state of its instruments and with any drivers.

Sources come first, in parallel and each with its own patience, so that a dead one delays no other: abort, 0 V and off
are the first bytes on a fresh connection, queries follow. Relays open when every source is verified off. The kind of an
instrument is that which its driver declares. A driver may raise anything: the others are made
safe all the same, and nothing is reported as verified that was not read back. One module: a bench, its
boxes and one driver are made safe by the same bounded tries.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from instruments.bench import Bench
from instruments.board_bench import AnyBench
from instruments.drivers import Connect, driver_of, visa
from instruments.entry import Entry
from instruments.transport import Urgent
from labctl.core.driver import DriverKind
from labctl.core.errors import InstrumentError, LabError
from labctl.core.source import ChannelState
from labctl.core.units import Second

PATIENCE: Second = 10.0
"""How long an instrument that refuses, resets or does not answer is tried again, unless its entry gives a patience."""
PAUSE: Second = 0.2
"""Wait between two tries."""
OVERTIME: Second = 30.0
"""How long a driver may take beyond its patience before its thread is abandoned."""
CLOSING: Second = 5.0
"""How long closing a connection may take."""
LAST_PATIENCE: Second = 2.0
"""How long the last resort tries an instrument again after its whole patience was spent."""

BY_HAND = "go to the bench, switch off by hand what is named, then give 'labctl off' again"
"""Advice where a bench is not verified safe."""

ENERGISING = (DriverKind.SOURCE, DriverKind.PULSES, DriverKind.BOARD)
"""Kinds of drivers that put levels on lines."""

T = TypeVar("T")
Wait = Callable[[Second], None]


@dataclass(frozen=True)
class Safed:
    """A bench that was made safe.

    Args:
        verified: verified state of each instrument, by its name, in operator words.
        met: outputs and relays that were on or closed before, such as {"smu1.smua": "on at 0.1 V"}; empty if at rest.
    """

    verified: Mapping[str, str] = field(default_factory=dict)
    met: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The verified states, in operator words."""
        return _grouped(self.verified) or "this bench has no instrument that could be live"


def make_safe(bench: AnyBench, *, connect: Connect | None = None, wait: Wait = time.sleep) -> Safed:
    """Set every source of a bench to 0 V and off, then open every relay, from any state; needles stay.

    Relays open only when every source is verified off. ^C does not end it: it is bounded, and nothing is more urgent.

    Args:
        connect: makes the transports; None is VISA.
        wait: waits for a time between two tries, s.

    Raises:
        InstrumentError: an instrument is not verified safe, by name; it needs a person.
    """
    boxes = {name: _Box(name, entry, connect or visa(), wait) for name, entry in bench.instruments.items()}
    patience = {name: box.patience for name, box in boxes.items()}
    try:
        failed = at_once({name: box.silence for name, box in boxes.items()}, patience)
        relays = "; relays stay as they are" if failed else ""
        if not failed:
            failed = at_once(
                {n: box.open_relays for n, box in boxes.items() if box.kind is DriverKind.MATRIX}, patience
            )
    finally:
        _close_all(boxes)
    if failed:
        raise InstrumentError(f"the bench is NOT verified safe: {'; '.join(failed.values())}{relays}; {BY_HAND}")
    return Safed(
        {name: box.verified for name, box in boxes.items() if box.verified},
        {part: state for box in boxes.values() for part, state in box.met.items()},
    )


def isolate(bench: AnyBench, *, connect: Connect | None = None, wait: Wait = time.sleep) -> str:
    """Separate the die from sources that could not be verified off: every relay open, then the needles up.

    The last resort, when `make_safe` has failed and no operator is present: relays and needles wear when they move
    under current, but the die cannot be replaced. Pads that are wired to a source have no relay: that is in the result,
    unless the needles were lifted. Never raises; returns the results in operator words.
    """
    boxes = {name: _Box(name, entry, connect or visa(), wait) for name, entry in bench.instruments.items()}
    patience = {name: min(box.patience, LAST_PATIENCE) for name, box in boxes.items()}
    parts: list[str] = []
    for kind, act, words in (
        (DriverKind.MATRIX, _Box.open_relays, "relays opened under possible current"),
        (DriverKind.PROBER, _Box.lift, "needles lifted under possible current"),
    ):
        concerned = {name: box for name, box in boxes.items() if box.kind in (kind, None)}
        failed = at_once({name: partial(act, box) for name, box in concerned.items()}, patience)
        parts += [
            failed.get(name) or f"{name}: {words}" for name, box in concerned.items() if name in failed or box.done
        ]
    if not any(box.done for box in boxes.values() if box.kind is DriverKind.PROBER):
        parts += _not_separated(bench)
    _close_all(boxes)
    return "; ".join(parts)


def _not_separated(bench: AnyBench) -> list[str]:
    """Return which pads nothing separates from their channels, in operator words; the die of a board never is."""
    if not isinstance(bench, Bench):
        return [f"the die is NOT separated from the board of bench '{bench.name}'"]
    connections = None
    with suppress(BaseException):  # a bench file with a driver that cannot be used has no wiring that is known
        connections = bench.connections
    if connections is None:
        return []
    pads = {pad: source for pad, source in connections.wired.items() if source != connections.ground}
    return [f"{pad} is NOT separated from {connections.name(source)}, a wire" for pad, source in pads.items()]


def silence(
    sources: Mapping[str, Any], patience: Mapping[str, Second], wait: Wait
) -> tuple[dict[str, str], dict[str, str]]:
    """Set sources to 0 V and off, in parallel, each tried as long as its patience lasts; each is verified.

    Returns:
        Errors of sources that are not verified off, and states of outputs that were on before, by name; both may be
        empty.
    """
    met: dict[str, str] = {}

    def end(name: str, source: Any) -> None:
        met.update(persist(lambda: emergency_off(name, source), patience.get(name, PATIENCE), wait))

    tasks = {name: partial(end, name, source) for name, source in sources.items()}
    return at_once(tasks, patience), met


def emergency_off(name: str, source: Any) -> dict[str, str]:
    """Set one source to 0 V and off, verified; return the outputs that were on before.

    Uses `off` if the driver has no faster method.

    Raises:
        BaseException: any error of its driver; it is not verified off then.
    """
    own = getattr(source, "emergency_off", None)
    if own is None:
        source.off()
        source.verify_off()
        return {}
    states: Mapping[str, ChannelState] = own()
    return {f"{name}.{channel}": f"on at {state.forced}" for channel, state in states.items() if state.output}


def emergency_open(name: str, matrix: Any) -> int:
    """Open every relay of one matrix, verified; return how many were closed before, as far as it reports.

    The command goes out before any answer is read, by its own emergency method if it has one. The caller has verified
    the sources.

    Raises:
        BaseException: any error of its driver; it is not verified open then.
    """
    own = getattr(matrix, "emergency_open", None)
    if own is not None:
        return len(own())
    closed: Any = ()
    with suppress(BaseException):  # an identity that is not understood is no reason to leave relays closed
        if not getattr(matrix, "_connected", True):
            matrix.connect()
    permit: Any = getattr(matrix, "permit", None)
    with suppress(BaseException):
        matrix.permit = lambda: None
    with suppress(BaseException):
        closed = list(matrix.closed())
    refused: BaseException | None = None
    try:
        matrix.route(())
    except BaseException as error:
        refused = error
    finally:
        with suppress(BaseException):
            matrix.permit = permit  # it is asked again by whoever goes on with this matrix
    remaining = list(matrix.closed())
    if remaining:
        raise refused or InstrumentError(f"{name}: {len(remaining)} relays are still closed")
    return len(closed)


def persist(act: Callable[[], T], patience: Second, wait: Wait) -> T:
    """Return the result of `act`; while it raises, try again, for `patience` s at the most.

    The time of each try counts by the system's clock, and each pause with its nominal time, so that a simulated clock
    is bounded too.

    Raises:
        BaseException: the error of the last try.
    """
    spent = 0.0
    while True:
        begin = time.monotonic()
        try:
            return act()
        except BaseException:
            spent += time.monotonic() - begin + PAUSE
            if spent > patience:
                raise
        wait(PAUSE)


def at_once(
    tasks: Mapping[str, Callable[[], object]], patience: Mapping[str, Second], overtime: Second | None = None
) -> dict[str, str]:
    """Run all `tasks` in parallel; return the errors by name, in words. Raises nothing, ignores ^C.

    Args:
        patience: of each task, s.
        overtime: how much longer a task may take before its thread is abandoned, s; None is `OVERTIME`.
    """
    overtime = OVERTIME if overtime is None else overtime
    failed: dict[str, str] = {}

    def run(name: str, task: Callable[[], object]) -> None:
        try:
            task()
        except BaseException as error:
            failed[name] = _error_text(name, error)

    threads = {n: threading.Thread(target=run, args=(n, task), daemon=True, name=n) for n, task in tasks.items()}
    begin = time.monotonic()
    for thread in threads.values():
        thread.start()
    for name, thread in threads.items():
        limit = patience.get(name, PATIENCE) + overtime
        while thread.is_alive() and (left := begin + limit - time.monotonic()) > 0:
            with suppress(BaseException):  # raised by a signal: the wait is bounded, and nothing is more urgent
                thread.join(left)
        if thread.is_alive():
            failed[name] = f"{name}: its driver did not come back within {limit:.0f} s"
    return {name: failed[name] for name in tasks if name in failed}


class _Box:
    """One instrument that is made safe: its own driver over its own transport, made when it is first needed."""

    def __init__(self, name: str, entry: Entry, connect: Connect, wait: Wait) -> None:
        self.name, self._entry, self._connect, self._wait = name, entry, connect, wait
        self.patience: Second = entry.patience
        self.verified = ""
        self.done = False
        """Relays were opened, or needles lifted."""
        self.met: dict[str, str] = {}
        self._driver: Any = None

    @property
    def kind(self) -> DriverKind | None:
        """Kind of its driver; None if the driver cannot be used."""
        return self._entry.kind

    def silence(self) -> None:
        """Switch a source off and verify; any other instrument is left alone."""
        if self.kind in (*ENERGISING, None):
            persist(self._silence, self.patience, self._wait)

    def _silence(self) -> None:
        driver = self._open_driver()
        if self.kind in ENERGISING:
            for part, state in emergency_off(self.name, driver).items():
                self.met.setdefault(part, state)
            self.verified = "outputs verified off" + (" at 0 V" if self.kind is not DriverKind.PULSES else "")

    def open_relays(self) -> None:
        """Open every relay and verify; an instrument without relays is left alone."""
        persist(self._open_relays, self.patience, self._wait)

    def _open_relays(self) -> None:
        matrix = self._open_driver()
        if self.kind is DriverKind.MATRIX:
            closed = emergency_open(self.name, matrix)
            if closed:
                self.met.setdefault(self.name, f"{closed} relay{'s' if closed > 1 else ''} closed")
            self.verified, self.done = "relays verified open", True

    def lift(self) -> None:
        """Lift the needles and verify; an instrument that moves none is left alone."""
        prober = self._open_driver()
        if self.kind is DriverKind.PROBER:
            with suppress(BaseException):  # failed vacuum or too much overtravel is no reason to stay down
                prober.connect()
            with suppress(BaseException):
                prober.permit = lambda: None
            prober.separate()
            self.done = True

    def close(self) -> None:
        """Close the connection."""
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.close()

    def _open_driver(self) -> Any:
        """Return the driver; an error of its construction may be gone at the next try."""
        if self._driver is None:
            self._driver = driver_of(self.name, self._entry, self._transport, None)
        return self._driver

    def _transport(self, name: str, entry: Any) -> Any:
        transport = self._connect(name, entry)
        if isinstance(transport, Urgent):
            transport.ask_nothing_first()
        return transport


def _close_all(boxes: Mapping[str, _Box]) -> None:
    """Close all connections, in a bounded time; errors are ignored."""
    at_once({name: box.close for name, box in boxes.items()}, dict.fromkeys(boxes, CLOSING), 0.0)


def _error_text(name: str, error: BaseException) -> str:
    """Return an error as text that names the instrument; one that is no `LabError` is attributed to its driver."""
    if isinstance(error, LabError):
        text = str(error)
        return text if text.startswith(f"{name}:") else f"{name}: {text}"
    return f"{name}: its driver failed: {type(error).__name__}: {error}"


def _grouped(verified: Mapping[str, str]) -> str:
    """Return the verified states as text, instruments of one state together.

    >>> _grouped({"smu1": "off", "smu2": "off", "matrix": "open"})
    'smu1, smu2: off; matrix: open'
    """
    groups: dict[str, list[str]] = {}
    for name, text in verified.items():
        groups.setdefault(text, []).append(name)
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in groups.items())
