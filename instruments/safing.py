"""Make a bench safe, whatever its instruments are doing and whoever drives them.

Sources come first, all at once and each with its own patience, so that a dead one delays no other: what ends whatever
runs, 0 V and off are the first bytes on a fresh connection, and only then something is asked. Relays open when every
source is verified off. What each instrument is, its driver's interface says (`instruments.drivers`). A driver may raise
anything: the others are made safe all the same, and "verified" is claimed of nothing that was not asked.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from instruments.bench import Bench, Entry
from instruments.drivers import Connect, Kind, driver_of, factory_of, kind_of, visa
from instruments.transport import LineTransport
from labctl.core.errors import InstrumentError, LabError
from labctl.core.instrument import ChannelState
from labctl.core.units import Second

PATIENCE: Second = 10.0
"""How long an instrument is tried again that refuses, resets or does not answer, where its entry does not say."""
PAUSE: Second = 0.2
"""Wait between two tries."""
OVERTIME: Second = 60.0
"""How long a driver may take beyond its patience before it is left behind."""

T = TypeVar("T")
Wait = Callable[[Second], None]


@dataclass(frozen=True)
class Safed:
    """A bench that was made safe.

    Args:
        verified: what was verified of each instrument, by its name, in operator words.
        met: what was found energised or closed before, such as {"smu1.smua": "on at 0.1 V"}; empty if at rest.
    """

    verified: Mapping[str, str] = field(default_factory=dict)
    met: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What was verified, in operator words."""
        return _grouped(self.verified) or "there is nothing on this bench that could be live"


def make_safe(bench: Bench, *, connect: Connect | None = None, wait: Wait = time.sleep) -> Safed:
    """Have every source of a bench at 0 V and off and then every relay open, whatever state it is in; needles stay.

    Relays open only when every source is verified off. ^C does not end it: it is bounded, and nothing is more urgent.

    Args:
        connect: makes the wires; None is VISA.
        wait: lets a time pass between two tries, s.

    Raises:
        InstrumentError: what could not be verified, by name; it needs a person.
    """
    boxes = [_Box(name, entry, connect or visa(), wait) for name, entry in bench.instruments.items()]
    try:
        failed = at_once({box.name: box.silence for box in boxes}, {box.name: box.patience for box in boxes})
        moved = "; relays stay as they are" if failed else ""
        if not failed:
            matrices = [box for box in boxes if box.kind is Kind.MATRIX]
            failed = at_once({box.name: box.open_relays for box in matrices}, {b.name: b.patience for b in matrices})
    finally:
        for box in boxes:
            box.close()
    if failed:
        raise InstrumentError(f"the bench is NOT verified safe: {'; '.join(failed.values())}{moved}")
    return Safed(
        {box.name: box.verified for box in boxes if box.verified},
        {part: state for box in boxes for part, state in box.met.items()},
    )


def isolate(bench: Bench, *, connect: Connect | None = None, wait: Wait = time.sleep) -> str:
    """Part the die from sources that could not be verified off: every relay open, then the needles up.

    The last resort, when `make_safe` has failed and nobody is there: relays and needles wear when they move under
    current, and the die is what cannot be replaced. Never raises; returns what was done and what was not.
    """
    boxes = [_Box(name, entry, connect or visa(), wait) for name, entry in bench.instruments.items()]
    parts: list[str] = []
    for kind, act, words in (
        (Kind.MATRIX, _Box.open_relays, "relays opened under possible current"),
        (Kind.PROBER, _Box.lift, "needles lifted under possible current"),
    ):
        for box in boxes:
            if box.kind not in (kind, None):
                continue
            try:
                done = act(box)
            except Exception as error:
                parts.append(_named(box.name, error))
            else:
                parts += [f"{box.name}: {words}"] if done else []
    for box in boxes:
        box.close()
    return "; ".join(parts)


def silence(
    sources: Mapping[str, Any], patience: Mapping[str, Second], wait: Wait
) -> tuple[dict[str, str], dict[str, str]]:
    """Have sources at 0 V and off, all at once, each as long as its patience lasts; each is verified.

    Returns:
        What could not be verified, and what was found on before, by name; both empty is well.
    """
    met: dict[str, str] = {}

    def end(name: str, source: Any) -> None:
        met.update(persist(lambda: emergency_off(name, source), patience.get(name, PATIENCE), wait))

    tasks = {name: _later(end, name, source) for name, source in sources.items()}
    return at_once(tasks, patience), met


def emergency_off(name: str, source: Any) -> dict[str, str]:
    """Have one source at 0 V and off, verified, and return what was found on before; by `off` if it has no faster way.

    Raises:
        Exception: whatever its driver raises; it is not verified off then.
    """
    own = getattr(source, "emergency_off", None)
    if own is None:
        source.off()
        source.verify_off()
        return {}
    states: Mapping[str, ChannelState] = own() or {}
    return {f"{name}.{channel}": f"on at {state.level:.6g} V" for channel, state in states.items() if state.output}


def persist(act: Callable[[], T], patience: Second, wait: Wait) -> T:
    """Return what `act` returns; while it raises, try again, for `patience` s at the most.

    The time of each try counts by the system's clock and each pause as what was asked for, so that a clock that only
    moves when somebody waits is bounded too.

    Raises:
        Exception: what the last try raised.
    """
    spent = 0.0
    while True:
        begin = time.monotonic()
        try:
            return act()
        except Exception:
            spent += time.monotonic() - begin + PAUSE
            if spent > patience:
                raise
        wait(PAUSE)


def at_once(tasks: Mapping[str, Callable[[], object]], patience: Mapping[str, Second]) -> dict[str, str]:
    """Do all of `tasks` at the same time; return by name what went wrong, in words. Raises nothing, hears no ^C."""
    failed: dict[str, str] = {}

    def run(name: str, task: Callable[[], object]) -> None:
        try:
            task()
        except BaseException as error:
            failed[name] = _named(name, error)

    threads = {n: threading.Thread(target=run, args=(n, task), daemon=True, name=n) for n, task in tasks.items()}
    begin = time.monotonic()
    for thread in threads.values():
        thread.start()
    for name, thread in threads.items():
        limit = patience.get(name, PATIENCE) + OVERTIME
        while thread.is_alive() and (left := begin + limit - time.monotonic()) > 0:
            with suppress(BaseException):  # what a signal raises here: it is bounded, and nothing is more urgent
                thread.join(left)
        if thread.is_alive():
            failed[name] = f"{name}: its driver did not come back within {limit:.0f} s"
    return {name: failed[name] for name in tasks if name in failed}


class _Box:
    """One instrument that is made safe: a driver of its own over a wire of its own, made when it is first needed."""

    def __init__(self, name: str, entry: Entry, connect: Connect, wait: Wait) -> None:
        self.name, self._entry, self._connect, self._wait = name, entry, connect, wait
        self.patience: Second = getattr(entry, "patience", PATIENCE)
        self.verified = ""
        self.met: dict[str, str] = {}
        self._driver: Any = None
        self._kind: Kind | None = None

    @property
    def kind(self) -> Kind | None:
        """What its driver is, by the class if it says so, by the driver if that was made; None if nobody can tell."""
        if self._kind is None:
            with suppress(LabError):
                self._kind = kind_of(factory_of(self.name, self._entry))
        return self._kind

    def silence(self) -> None:
        """Have a source off and verified, a matrix free of whatever it does; a prober is left alone."""
        if self.kind is Kind.PROBER:
            return
        persist(self._silence, self.patience, self._wait)

    def _silence(self) -> None:
        driver = self._made()
        if self.kind is Kind.SOURCE:
            for part, state in emergency_off(self.name, driver).items():
                self.met.setdefault(part, state)
            self.verified = "outputs verified off at 0 V"
        elif self.kind is Kind.MATRIX and hasattr(driver, "interrupt"):
            with suppress(LabError):  # a matrix that hears nothing is told of when its relays cannot be opened
                driver.interrupt()

    def open_relays(self) -> bool:
        """Have every relay open, verified; return whether there are any."""
        if self.kind is Kind.PROBER:
            return False
        return persist(self._open_relays, self.patience, self._wait)

    def _open_relays(self) -> bool:
        matrix = self._made()
        if self.kind is not Kind.MATRIX:
            return False
        if hasattr(matrix, "interrupt"):
            matrix.interrupt()
        elif not getattr(matrix, "_connected", True):
            with suppress(LabError):  # an identity that is not understood is no reason to leave relays closed
                matrix.connect()
        matrix.guard = lambda: None
        closed = len(list(matrix.closed()))
        if closed:
            self.met.setdefault(self.name, f"{closed} relay{'s' if closed > 1 else ''} closed")
        matrix.route(())
        left = len(list(matrix.closed()))
        if left:
            raise InstrumentError(f"{self.name}: {left} relays are still closed")
        self.verified = "relays verified open"
        return True

    def lift(self) -> bool:
        """Have the needles up; return whether this moves any."""
        prober = self._made()
        if self.kind is not Kind.PROBER:
            return False
        with suppress(LabError):  # a vacuum that failed or an overtravel that is too far is no reason to stay down
            prober.connect()
        prober.guard = lambda: None
        prober.separate()
        return True

    def close(self) -> None:
        """End the conversation; what that raises changes nothing."""
        driver, self._driver = self._driver, None
        if driver is not None:
            with suppress(Exception):
                driver.close()

    def _made(self) -> Any:
        """Return the driver; what it raises when it is made may be over at the next try."""
        if self._driver is None:
            self._driver = driver_of(self.name, self._entry, self._wire, None)
            self._kind = kind_of(self._driver)
        if self._kind is None:
            raise InstrumentError(
                f"{self.name}: driver '{self._entry.driver}' is neither a source nor a matrix nor a prober"
            )
        return self._driver

    def _wire(self, name: str, entry: Any) -> Any:
        wire = self._connect(name, entry)
        if isinstance(wire, LineTransport):
            wire.ask_nothing_first()
        return wire


def _later(act: Callable[[str, Any], object], name: str, source: Any) -> Callable[[], object]:
    return lambda: act(name, source)


def _named(name: str, error: BaseException) -> str:
    """Return an error in words that name the instrument; one that is no `LabError` is its driver's."""
    if isinstance(error, LabError):
        text = str(error)
        return text if text.startswith(f"{name}:") else f"{name}: {text}"
    return f"{name}: its driver failed: {type(error).__name__}: {error}"


def _grouped(verified: Mapping[str, str]) -> str:
    """Return what was verified, instruments of which the same is said together.

    >>> _grouped({"smu1": "off", "smu2": "off", "matrix": "open"})
    'smu1, smu2: off; matrix: open'
    """
    groups: dict[str, list[str]] = {}
    for name, text in verified.items():
        groups.setdefault(text, []).append(name)
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in groups.items())
