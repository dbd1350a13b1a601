"""Drivers on the emulators that they name, arranged for their contract: with resistors, loose relays, an empty map."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import ValidationError

from instruments.bench import TwinSettings
from instruments.drivers import driver_of
from instruments.entry import Entry
from instruments.transport import BytesTransport
from labctl.core import plugins
from labctl.core.driver import DriverKind, declared
from labctl.core.errors import BenchError
from labctl.core.units import Ohm, Second, Volt
from labctl.testing.matrices import check_matrix
from labctl.testing.probers import check_prober
from labctl.testing.pulse_sources import Made, check_pulse_source
from labctl.testing.sources import check_source
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.link import Instrument
from sim_backend.emulators.resistors import ResistorBox
from sim_backend.emulators.sentio_model import StationMap
from sim_backend.emulators.world import Cables, World

NAME = "under_test"
"""Name of the instrument that is tested."""
RESISTANCE: Ohm = 10e3
"""From each channel to LO, ohm."""
PLACES = ((3, 1), (4, 1), (4, 2))
"""Places of the map, (column, row)."""
ABSENT = (9, 9)


def check_driver(
    name: str,
    *,
    crosspoints: Sequence[tuple[str, str]] = (("A", "1-01"), ("A", "1-02"), ("B", "1-03")),
    absent: str = "no such relay",
    **options: Any,
) -> None:
    """Carry out the contract of an installed driver on the emulator that it names; ContractError names what it breaks.

    Args:
        name: of the driver in bench files.
        crosspoints: of a matrix, rows and columns as a bench file has them; at least three.
        absent: of a matrix, a crosspoint as it spells them, which it does not have.
        options: its keys in a bench file, in SI units; an address is not needed.

    Raises:
        BenchError: it is not installed, its options are wrong, or it names no emulator.
    """
    declaration, _ = declared(name)
    if declaration.emulator is None or (entry := _entry(name, options)).emulator is None:
        raise BenchError(
            f"driver '{name}' names no emulator; call check_{declaration.kind.replace(' ', '_')} with a function that "
            "makes it"
        )
    match declaration.kind:
        case DriverKind.SOURCE:
            channels = entry.capabilities.channels
            make, _, _ = arranged(entry, resistors(channels))
            check_source(make, declared=entry.capabilities, resistance=RESISTANCE)
        case DriverKind.MATRIX:
            relays = {entry.scheme(row, column): (f"{NAME}.{row}", f"{NAME}.{column}") for row, column in crosspoints}
            make, world, _ = arranged(entry, World(Cables({}, {}), lambda x, y, site: None), relays)
            names = {ends: relay for relay, ends in relays.items()}
            moves: list[frozenset[str]] = []
            switch = world.switch

            def seen(*args: Any, **keywords: Any) -> None:
                switch(*args, **keywords)
                moves.append(frozenset(names[ends] for ends in world.closed))

            world.switch = seen  # type: ignore[method-assign]
            check_matrix(make, list(relays), absent, moves=lambda: moves)
        case DriverKind.PROBER:
            world = World(Cables({}, {}), lambda x, y, site: None, place=(*PLACES[0], 0), in_contact=False)
            make, world, _ = arranged(entry, world)
            check_prober(make, PLACES, ABSENT, needles=lambda: world.in_contact)
        case DriverKind.PULSES:
            world, made = seen_pulses(entry.pulses.channels)
            make, _, _ = arranged(entry, world)
            check_pulse_source(make, declared=entry.pulses, made=lambda: made)
        case _:
            raise BenchError(f"driver '{name}' is a {declaration.kind}; call check_body")


def resistors(channels: Sequence[str], resistance: Ohm = RESISTANCE) -> World:
    """Return a world in which a resistor leads from each channel of the instrument under test to LO."""
    count = len(channels)
    conductance = np.zeros((1, count, count + 1))
    conductance[0, np.arange(count), np.arange(count)] = 1 / resistance
    lines = {(0, "row", k): f"row{k}" for k in range(count)} | {(0, "col", k): f"col{k}" for k in range(count + 1)}
    wires = {f"{NAME}.{channel}": f"row{k}" for k, channel in enumerate(channels)}
    return World(Cables(wires, lines, tuple(f"col{k}" for k in range(count + 1))), ResistorBox(conductance))


def seen_pulses(channels: Sequence[str]) -> tuple[World, list[Made]]:
    """Return a world with a resistor on each channel of a pulse source, and the pulses that come to them."""
    world, made = resistors(channels), list[Made]()
    tees = {f"{NAME}.{channel}": f"{NAME}.{channel}" for channel in channels}
    world.wiring = replace(world.wiring, tees=tees)
    pulse = world.pulse

    def seen(source: str, base: Volt, top: Volt, impedance: Ohm, seconds: Second) -> None:
        pulse(source, base, top, impedance, seconds)
        made.append((source.partition(".")[2], top - base, seconds))

    world.pulse = seen  # type: ignore[method-assign]
    return world, made


def arranged(
    entry: Entry, world: World, crosspoints: Mapping[str, tuple[str, str]] | None = None
) -> tuple[Callable[[], Any], World, Any]:
    """Return a function that makes drivers of one emulated instrument, its world, and the instrument."""
    declaration = entry.declaration
    named, options = entry.emulator or ("", entry.options)
    plugin = plugins.find(plugins.EMULATORS, named)
    station = StationMap(PLACES)
    ideal = TwinSettings(ideal_instruments=True).ideal_instruments
    context = EmulatorContext(world, station, crosspoints=crosspoints or {}, ideal=ideal)
    instrument = plugin.load()(NAME, options, context)

    def connect(name: str, entry: Entry) -> Any:
        if not isinstance(instrument, Instrument):
            return instrument
        probe, terminator = declaration.probe, declaration.terminator
        return BytesTransport(instrument.session(), name, probe=probe, terminator=terminator, sleep=world.advance)

    return lambda: driver_of(NAME, entry, connect, None), world, instrument


def _entry(name: str, options: Mapping[str, Any]) -> Entry:
    address = {"resource": NAME} if declared(name)[0].addressed else {}
    try:
        return Entry.model_validate({"driver": name, **address, **options})
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, line['loc']))}: {line['msg']}" for line in error.errors())
        raise BenchError(f"driver '{name}': {reasons}") from error
