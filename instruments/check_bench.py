"""The bench check: identity and state of every instrument of a bench, with nothing set and nothing moved.

For the first minute at a bench, and for the minute after something went wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from instruments.bench import Bench
from instruments.board_bench import AnyBench
from instruments.calibration import calibration_text
from instruments.drivers import Connect, driver_of, visa
from instruments.interfaces import has_method
from instruments.open_bench import unusable_relays
from instruments.serials import mismatch, model_of, serial_of
from labctl.core.driver import DriverKind, Wire
from labctl.core.errors import LabError
from labctl.core.source import SourceMeasure
from labctl.core.switch_matrix import Matrix
from labctl.terminal.progress import counted

StateAndWarnings = tuple[list[str], list[str]]
"""State of an instrument, and its differences from a bench at rest, both in operator words."""


@dataclass(frozen=True)
class InstrumentState:
    """Identity and state of one instrument of a bench.

    Args:
        resource: its address; empty if there is no wire.
        reached: what carries its commands, in operator words; empty if there is no wire.
        identity: its answer to the identity query, firmware included; empty if it did not answer.
        state: its present state, in operator words.
        wrong: faults that a person must check before outputs go on; empty if none.
        serial: serial number in its identity; None if there is none.
    """

    name: str
    driver: str
    resource: str
    identity: str = ""
    state: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    serial: str | None = None
    reached: str = ""


def check_bench(
    bench: AnyBench, *, connect: Connect | None = None, today: Callable[[], date] = date.today
) -> list[InstrumentState]:
    """Query identity and state of every instrument of a bench; nothing is set and nothing moves.

    Error queues are read, which empties them. What is known of a calibration is compared with `today`.

    Each is queried by itself, so that one that does not answer hides no other.
    """
    connect = connect or visa()
    states = []
    for name, entry in bench.instruments.items():
        reached = "" if entry.address is None else entry.address.text
        instrument = InstrumentState(name, entry.driver, entry.resource or "", reached=reached)
        if entry.declaration.wire is Wire.OPERATOR:
            states.append(replace(instrument, identity="moved by hand"))
            continue
        identity = ""
        state: list[str] = []
        wrong: list[str] = []
        try:
            driver = driver_of(name, entry, connect, None)
            try:
                identity = driver.connect()
                state, wrong = _state_of(driver, entry.declaration.kind, bench)
                if calibration := calibration_text(driver, entry.calibration, today()):
                    state.append(f"calibration: {calibration}")
                if other := mismatch(entry.serial, identity, model_of(entry)):
                    wrong.insert(0, other)
            finally:
                driver.close()
        except Exception as error:
            wrong.append(str(error) if isinstance(error, LabError) else f"its driver failed: {error!r}")
        serial = serial_of(identity, model_of(entry)) if identity else None
        states.append(replace(instrument, identity=identity, state=tuple(state), wrong=tuple(wrong), serial=serial))
    return states


def wired_text(bench: AnyBench) -> str:
    """Return where channels and ground are, and which die they reach, in operator words."""
    if not isinstance(bench, Bench):
        return bench.wires
    wiring, connections, kernel = bench.wiring, bench.connections, bench.wiring.kernels[0]
    rows = [row for rows in wiring.channels.values() for row in rows]
    straight = [f"{pad} by wire on {connections.name(source)}" for pad, source in connections.wired.items()]
    parts = [counted(len(connections.channels), "channel")]
    parts[0] += f" on rows {', '.join(rows)}" if rows else ""
    if wiring.ground:
        parts.append(f"ground on row {', '.join(wiring.ground)}")
    elif rows:
        parts.append("no ground row")
    return (
        f"{', '.join([*parts, *straight, *bench.pulse_texts])}; {counted(len(wiring.pads), 'pad')}; "
        f"{counted(len(wiring.kernels), 'kernel')} of {len(kernel.rows)} x {len(kernel.cols)}; "
        "no conflict in the wiring"
    )


def _state_of(driver: Any, kind: DriverKind, bench: AnyBench) -> StateAndWarnings:
    """Return the state of an instrument, and the faults that a person must check."""
    more: StateAndWarnings = driver.diagnosis() if has_method(driver, "diagnosis") else ([], [])
    match kind:
        case DriverKind.SOURCE | DriverKind.PULSES | DriverKind.BOARD:
            return _both(_both(_outputs(driver), more), (_mains(driver, bench), []))
        case DriverKind.MATRIX if isinstance(bench, Bench):
            return _both(_relays(driver, bench), more)
        case DriverKind.MATRIX:
            return more
        case DriverKind.PROBER:
            return more if any(more) else ([f"needles {'in' if driver.in_contact() else 'not in'} contact"], [])


def _mains(source: Any, bench: AnyBench) -> list[str]:
    """Return how the mains frequency of a source that knows one differs from the one that is planned with."""
    if not isinstance(bench, Bench) or not has_method(source, "mains"):
        return []
    mains, planned = source.mains(), bench.timing.line_frequency
    differs = f"mains {mains:g} Hz; plan reckons with timing.line_frequency, {planned:g} Hz"
    return [] if mains == planned else [differs]


def _both(one: StateAndWarnings, other: StateAndWarnings) -> StateAndWarnings:
    return one[0] + other[0], one[1] + other[1]


def _outputs(source: SourceMeasure) -> StateAndWarnings:
    state, wrong = [], []
    for name, channel in source.state().items():
        on = "ON" if channel.output else "off"
        state.append(f"{name}: output {on}, level {channel.forced}, limit {channel.limited}")
        if channel.output:
            wrong.append(f"{name} is on at {channel.forced}; 'labctl off' makes the bench safe")
    return state, wrong


def _relays(matrix: Matrix, bench: Bench) -> StateAndWarnings:
    closed = sorted(matrix.closed())
    known = {crosspoint for name, crosspoint in bench.connections.ends if name == matrix.name}
    unknown = [relay for relay in closed if relay not in known]
    wrong = [f"{len(closed)} relays are closed; 'labctl off' opens them"] if closed else []
    if unknown:
        wrong.append(f"{', '.join(unknown[:8])} closed, and not in the wiring of this bench")
    wrong += unusable_relays(bench, matrix.name, matrix)
    return [f"closed: {', '.join(closed[:12]) or 'none'}{' and more' if len(closed) > 12 else ''}"], wrong
