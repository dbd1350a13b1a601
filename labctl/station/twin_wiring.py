"""The cables of a bench file for the instruments of its twin, and what is in series with the lines of its dies."""

import numpy as np

from instruments.bench import Bench
from instruments.board_bench import AnyBench
from labctl.core.errors import BenchError
from labctl.core.units import FloatArray
from sim_backend.chip import ChipDie
from sim_backend.die import SimDie
from sim_backend.emulators.world import Cables, Crosspoint, Line


def wiring_of(bench: AnyBench) -> Cables:
    """Return the cables of a bench file for the emulators, none of a board; BenchError for a die with gates."""
    if not isinstance(bench, Bench):
        return Cables({}, {})
    connections = bench.connections
    lines: dict[Line, str] = {}
    for k, kernel in enumerate(bench.wiring.kernels):
        if kernel.gates:
            raise BenchError("the twin of a bench has passive dies; this wiring has gates")
        for axis, pads in (("row", kernel.rows), ("col", kernel.cols)):
            for index, pad in enumerate(pads):
                lines[k, axis, index] = pad
    channels = {channel: channel for channel in connections.channels}
    tees = {tee.pulses: channel for channel, tee in bench.wiring.tees.items()}
    return Cables(channels, lines, (connections.name(connections.ground),), connections.wires, tees)


def crosspoints_of(bench: AnyBench, matrix: str) -> dict[str, Crosspoint]:
    """Return the two conductors that each relay of one matrix joins, by the relay's name."""
    if not isinstance(bench, Bench):
        return {}
    return {relay: ends for (owner, relay), ends in bench.connections.ends.items() if owner == matrix}


def leads_of(bench: Bench, ideal_die: bool) -> FloatArray:
    """Return the (kernels, lines) ohm of probe card, relays and cables in series with each line, rows first."""
    return np.array([[bench.twin.resistance(p, ideal_die) for p in (*k.rows, *k.cols)] for k in bench.wiring.kernels])


def probe(bench: Bench, die: SimDie | ChipDie) -> None:
    """Put the resistances of probe card, relays and cables in series with the lines that the wiring names."""
    kernels = bench.wiring.kernels
    shape = len(kernels), len(kernels[0].rows), len(kernels[0].cols)
    if not isinstance(die, SimDie) or die.geometry.shape != shape:
        return  # a die that the wiring does not fit is refused where needles are to touch it
    die.probe(leads_of(bench, die.description.simulation.ideal))
