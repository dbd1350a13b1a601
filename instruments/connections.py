"""Which sources reach which pads of a bench, and by what: a wire, or one relay of a matrix.

The wires of a bench file are followed from end to end here. A wiring that cannot be sound is refused with the pads and
channels in the message, since a crossed wire breaks dies unnoticed: two outputs on one conductor, an output on ground,
one output on two pads with no relay between, a line that nothing can drive, a column whose current nothing can tell
from another's. Rows of one matrix are joined over its cards by the matrix itself; rows of two matrices are joined only
where a channel or the ground is wired to both.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from instruments.wiring import CHANNEL, GROUND, KernelPads, Wiring
from labctl.core.errors import BenchError
from labctl.core.switch_matrix import Scheme

Relay = tuple[str, str]
"""A relay of the bench: name of its matrix, and the crosspoint in that matrix's own words."""
Node = str
"""A conductor: a channel, a pad, `ground`, or a place of a matrix such as `matrix.A` or `matrix.1-07`."""


@dataclass(frozen=True)
class Connections:
    """Sources of a bench and the way from each to each pad; source `len(channels)` is the ground.

    Args:
        channels: in the order in which they are taken: those on matrix rows as listed, then those wired to pads.
        wired: source of each pad that is wired to one.
        relays: pad: source: the relay that joins the two.
        wires: pairs of conductors that are joined for good.
    """

    channels: tuple[str, ...]
    wired: Mapping[str, int]
    relays: Mapping[str, Mapping[int, Relay]]
    wires: tuple[tuple[Node, Node], ...]

    @property
    def ground(self) -> int:
        """Number of the ground among the sources."""
        return len(self.channels)

    @property
    def pads(self) -> tuple[str, ...]:
        """All pads, in the order of the file."""
        return tuple(self.relays)

    def sources(self, pad: str) -> frozenset[int]:
        """Return the sources that a pad can be connected to, or is; BenchError if there is no such pad."""
        if pad not in self.relays:
            raise BenchError(f"pad '{pad}' is not in the wiring")
        return frozenset({self.wired[pad]} if pad in self.wired else self.relays[pad])

    def relay(self, pad: str, source: int) -> Relay | None:
        """Return the relay that connects a pad to a source; None if a wire does.

        Raises:
            BenchError: no such pad, or nothing connects the two.
        """
        if source not in self.sources(pad):
            raise BenchError(f"pad {pad} cannot be connected to {self.name(source)}")
        return None if pad in self.wired else self.relays[pad][source]

    def name(self, source: int) -> str:
        """Return the name of a source."""
        return GROUND if source == self.ground else self.channels[source]

    @cached_property
    def grounding(self) -> Mapping[Relay, Relay]:
        """Relay to ground of the pad of each relay, for pads that have one."""
        return {
            relay: relays[self.ground]
            for relays in self.relays.values()
            if self.ground in relays
            for relay in relays.values()
        }

    @property
    def never_grounded(self) -> tuple[str, ...]:
        """Pads on a matrix that no relay connects to ground."""
        return tuple(pad for pad, relays in self.relays.items() if relays and self.ground not in relays)

    @cached_property
    def ends(self) -> Mapping[Relay, tuple[Node, Node]]:
        """The channel or ground and the pad that each relay joins."""
        return {
            relay: (self.name(source), pad) for pad, relays in self.relays.items() for source, relay in relays.items()
        }


@dataclass(frozen=True)
class _Bench:
    """Instruments of a bench, as far as wires end on them.

    Args:
        channels: channels of each source; None if they are not known before it is connected.
        schemes: spelling of crosspoints of each matrix.
        others: driver of each other instrument.
    """

    channels: Mapping[str, Sequence[str] | None]
    schemes: Mapping[str, Scheme]
    others: Mapping[str, str]

    def channel(self, text: str) -> str | None:
        """Return a channel that a wire ends on, None if the text names none; ValueError if there is no such one."""
        name, dot, part = text.partition(".")
        if not dot or name in self.schemes:
            return None
        if name in self.others:
            raise ValueError(f"channel {text} is wired, but {name} is a {self.others[name]}")
        if name not in self.channels:
            if not CHANNEL.fullmatch(text):
                return None
            raise ValueError(f"channel {text} is wired, and there is no instrument '{name}'")
        channels = self.channels[name]
        if channels is not None and part not in channels:
            raise ValueError(f"{name} has no channel '{part}'; it has {', '.join(channels)}")
        return text

    def place(self, owner: str, text: str, what: str) -> tuple[str, str]:
        """Return (matrix, row or column) of the end of a wire of `owner`; ValueError if it is on no one matrix."""
        name, dot, place = text.partition(".")
        if dot and name in self.schemes:
            return name, place
        if len(self.schemes) == 1:
            return next(iter(self.schemes)), text
        if not self.schemes:
            raise ValueError(
                f"{owner} is on matrix {what} '{text}', and the bench has no matrix; a pad without one is wired to a "
                "channel such as smu.smua, or to ground"
            )
        names = list(self.schemes)
        raise ValueError(
            f"{owner} is on matrix {what} '{text}', which names no matrix: expected {' or '.join(names)} before a dot, "
            f"such as {names[0]}.{text}"
        )


def connect_wiring(
    wiring: Wiring,
    channels: Mapping[str, Sequence[str] | None],
    schemes: Mapping[str, Scheme],
    others: Mapping[str, str],
) -> Connections:
    """Return the connections of a bench; arguments as of `_Bench`.

    Raises:
        ValueError: the wiring is not sound; the message names pads and channels.
    """
    bench = _Bench(channels, schemes, others)
    rows: dict[tuple[str, str], str] = {}
    wires: list[tuple[Node, Node]] = []
    for channel in wiring.channels:
        if bench.channel(channel) is None:
            raise ValueError(f"channel {channel} is wired, but {channel.partition('.')[0]} is no source but a matrix")
    for source, ends in (*wiring.channels.items(), *([(GROUND, wiring.ground)] if wiring.ground else [])):
        for end in ends:
            place = bench.place(source if source == GROUND else f"channel {source}", end, "row")
            if place in rows:
                raise ValueError(f"{_short(rows[place], source)} both on matrix row {_spelled(place, schemes)}")
            rows[place] = source
            wires.append((source, ".".join(place)))
    order = list(wiring.channels)
    straight: dict[str, str] = {}
    columns: dict[tuple[str, str], str] = {}
    places: dict[str, list[tuple[str, str]]] = {}
    for pad, ends in wiring.pads.items():
        places[pad] = []
        for end in ends:
            straight_to = GROUND if end == GROUND else bench.channel(end)
            if straight_to is None:
                place = bench.place(f"pad {pad}", end, "column")
                if place in columns:
                    raise ValueError(f"{columns[place]} and {pad} are both on matrix column {_spelled(place, schemes)}")
                columns[place] = pad
                places[pad].append(place)
                wires.append((pad, ".".join(place)))
                continue
            _refuse_join(pad, straight_to, straight, wiring)
            straight[pad] = straight_to
            wires.append((pad, straight_to))
            if straight_to != GROUND:
                order.append(straight_to)
        if pad in straight and places[pad]:
            raise ValueError(
                f"pad {pad} is wired to {straight[pad]} and is on matrix column {_spelled(places[pad][0], schemes)}: "
                "a relay there would put a second source on it; take one of the two"
            )
    numbers = {**{channel: k for k, channel in enumerate(order)}, GROUND: len(order)}
    relays: dict[str, dict[int, Relay]] = {pad: {} for pad in wiring.pads}
    for pad, on in places.items():
        for matrix, column in on:
            for (of, row), source in sorted(rows.items(), key=lambda item: numbers[item[1]]):
                relay = matrix, _crosspoint(schemes[matrix], matrix, row, column, source, pad)
                if of == matrix:
                    relays[pad].setdefault(numbers[source], relay)
    connections = Connections(tuple(order), {p: numbers[s] for p, s in straight.items()}, relays, tuple(wires))
    for reason in _unsound(wiring, connections):
        raise ValueError(reason)
    return connections


def _short(one: str, other: str) -> str:
    """Return the beginning of a refusal about two sources on one row."""
    if GROUND in (one, other):
        channel = other if one == GROUND else one
        return f"{channel} and {GROUND} would be shorted, they are"
    return f"{one} and {other} are"


def _refuse_join(pad: str, source: str, straight: Mapping[str, str], wiring: Wiring) -> None:
    """Raise ValueError if a wire from `pad` to `source` joins two sources, or two pads to one output."""
    if pad in straight:
        shorted = GROUND in (straight[pad], source)
        why = "it would be shorted" if shorted else "two outputs on one pad fight"
        raise ValueError(f"pad {pad} is wired to {straight[pad]} and to {source}: {why}; take one of the two")
    if source == GROUND:
        return
    if source in wiring.channels:
        raise ValueError(
            f"channel {source} is wired to pad {pad} and is on matrix row {wiring.channels[source][0]}: a relay there "
            f"would join {pad} to another pad; take one of the two"
        )
    if (other := next((p for p, s in straight.items() if s == source), None)) is not None:
        raise ValueError(
            f"channel {source} is wired to pads {other} and {pad}: one output on two pads needs a relay between, or "
            "they are never at different levels"
        )


def _crosspoint(scheme: Scheme, matrix: str, row: str, column: str, source: str, pad: str) -> str:
    """Return a crosspoint as its matrix spells it; ValueError, with the names of the wires, if it has none."""
    try:
        return scheme(row, column)
    except (BenchError, ValueError) as error:
        raise ValueError(f"{matrix}, between {source} on row {row} and pad {pad}: {error}") from error


def _spelled(place: tuple[str, str], schemes: Mapping[str, Scheme]) -> str:
    """Return a row or column as the bench file has to spell it."""
    return place[1] if len(schemes) == 1 else ".".join(place)


def _unsound(wiring: Wiring, connections: Connections) -> Iterator[str]:
    """Yield why no die can be measured on these connections; nothing if it can."""
    if not connections.channels:
        yield "no channel is wired: name one under 'channels', or as the end of a pad, such as smu.smua"
    for kernel in wiring.kernels:
        for pad in kernel.lines:
            if not connections.sources(pad):
                ends = ", ".join(wiring.pads[pad])
                yield f"pad {pad}, a line of a kernel, is on {ends}, where neither a channel nor ground is wired to"
        yield from _undriven(kernel, connections)
        yield from _unsensed(kernel, connections)


def _undriven(kernel: KernelPads, connections: Connections) -> Iterator[str]:
    """Yield the first cell that no channel can put a voltage across."""
    for row in kernel.rows:
        for col in kernel.cols:
            both = connections.sources(row) | connections.sources(col)
            if both == {connections.ground}:
                yield f"pads {row} and {col} can only be on ground: no voltage is ever across their cell; add a channel"
            elif len(both) == 1:
                name = connections.name(next(iter(both)))
                yield f"pads {row} and {col} can only be on {name}: no voltage is ever across their cell; add ground"
            else:
                continue
            return


def _unsensed(kernel: KernelPads, connections: Connections) -> Iterator[str]:
    """Yield the columns whose current nothing measures: they reach no channel, and something else is on ground too."""
    ground = {connections.ground}
    blind = [pad for pad in kernel.cols if connections.sources(pad) == ground]
    stuck = [pad for pad in kernel.rows if connections.sources(pad) == ground]
    if blind and len(blind + stuck) > 1:
        yield (
            f"column {blind[0]} is only ever on ground, and so is {(blind[1:] + stuck)[0]}: the current of the column "
            "is measured nowhere; wire it to a channel, or put relays between"
        )
