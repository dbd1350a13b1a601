"""The bench check: identity and state of every instrument of a bench, with nothing set and nothing moved.

For the first minute at a bench, and for the minute after something went wrong.
"""

from dataclasses import dataclass, replace
from typing import Any

from instruments.bench import Bench, ManualEntry
from instruments.drivers import Connect, DriverKind, driver_of, kind_of, visa
from instruments.keithley2600b import Keithley2600B
from instruments.mpi_sentio import STEPPING, MpiSentio
from labctl.core.errors import LabError
from labctl.core.source import SourceMeasure
from labctl.core.switch_matrix import Matrix

StateAndWarnings = tuple[list[str], list[str]]
"""State of an instrument, and its differences from a bench at rest, both in operator words."""


@dataclass(frozen=True)
class InstrumentState:
    """Identity and state of one instrument of a bench.

    Args:
        resource: its address; empty if there is no wire.
        identity: its answer to the identity query, firmware included; empty if it did not answer.
        state: its present state, in operator words.
        wrong: faults that a person must check before outputs go on; empty if none.
    """

    name: str
    driver: str
    resource: str
    identity: str = ""
    state: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


def check_bench(bench: Bench, *, connect: Connect | None = None) -> list[InstrumentState]:
    """Query identity and state of every instrument of a bench; nothing is set and nothing moves.

    Each is queried by itself, so that one that does not answer hides no other.
    """
    connect = connect or visa()
    states = []
    for name, entry in bench.instruments.items():
        resource = getattr(entry, "resource", "")
        instrument = InstrumentState(name, entry.driver, resource)
        if isinstance(entry, ManualEntry):
            states.append(replace(instrument, identity="moved by hand"))
            continue
        identity = ""
        state: list[str] = []
        wrong: list[str] = []
        try:
            driver = driver_of(name, entry, connect, None)
            try:
                identity = driver.connect()
                state, wrong = _state_of(driver, bench)
            finally:
                driver.close()
        except Exception as error:
            wrong.append(str(error) if isinstance(error, LabError) else f"its driver failed: {error!r}")
        states.append(replace(instrument, identity=identity, state=tuple(state), wrong=tuple(wrong)))
    return states


def _state_of(driver: Any, bench: Bench) -> StateAndWarnings:
    """Return the state of an instrument, and the faults that a person must check."""
    match kind_of(driver):
        case DriverKind.SOURCE:
            outputs = _outputs(driver)
            return _both(outputs, _interlocks(driver)) if isinstance(driver, Keithley2600B) else outputs
        case DriverKind.MATRIX:
            return _relays(driver, bench)
        case DriverKind.PROBER if isinstance(driver, MpiSentio):
            return _chuck(driver)
        case DriverKind.PROBER:
            return [f"needles {'in contact' if driver.in_contact() else 'not in contact'}"], []
    return [], ["its driver is neither a source nor a matrix nor a prober; it cannot be made safe"]


def _both(one: StateAndWarnings, other: StateAndWarnings) -> StateAndWarnings:
    return one[0] + other[0], one[1] + other[1]


def _outputs(source: SourceMeasure) -> StateAndWarnings:
    state, wrong = [], []
    for name, channel in source.state().items():
        on = "ON" if channel.output else "off"
        state.append(f"{name}: output {on}, level {channel.level:.6g} V, limit {channel.limit:.6g} A")
        if channel.output:
            wrong.append(f"{name} is on at {channel.level:.6g} V; 'labctl off' makes the bench safe")
    return state, wrong


def _interlocks(source: Keithley2600B) -> StateAndWarnings:
    state, wrong = [], []
    for channel, (acts, asserted) in source.interlocks().items():
        line = {True: "asserted", False: "NOT asserted", None: "not reported"}[asserted]
        state.append(f"{channel}: output enable {line}, {'switches the output off' if acts else 'ignored'}")
        if acts and asserted is False:
            wrong.append(f"{channel}: the output-enable line is open; no output goes on before it is closed")
    return state, wrong


def _relays(matrix: Matrix, bench: Bench) -> StateAndWarnings:
    closed = sorted(matrix.closed())
    wiring = bench.wiring
    sources = range(len(wiring.sources) + (wiring.ground is not None))
    known = {wiring.crosspoint(pad, source) for pad in wiring.pads for source in sources}
    unknown = [relay for relay in closed if relay not in known]
    wrong = [f"{len(closed)} relays are closed; 'labctl off' opens them"] if closed else []
    if unknown:
        wrong.append(f"{', '.join(unknown[:8])} closed, and not in the wiring of this bench")
    return [f"closed: {', '.join(closed[:12]) or 'none'}{' and more' if len(closed) > 12 else ''}"], wrong


def _chuck(prober: MpiSentio) -> StateAndWarnings:
    h = prober.heights()
    where, doubts = prober.standing()
    heights = ", ".join(
        f"{name} {height * 1e6:.1f} um"
        for name, height in (
            ("contact", h.contact),
            ("overtravel", h.overtravel),
            ("separation", h.separation),
            ("hover", h.hover),
        )
    )
    state = [
        f"chuck {where}; {heights}",
        f"{prober.touches()} touches on its counter",
        f"stepping contact mode and compensation: they cannot be read; {STEPPING} is set before the first step",
    ]
    return state, doubts
