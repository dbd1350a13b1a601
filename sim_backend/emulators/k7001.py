"""Keithley 7001 and 7002 switch systems over SCPI: matrix cards in slots, over the relays of the world.

Names and replies: public code for it (`:CLOS (@1!1!1,1!2!2)`, `:OPEN ALL`, `:CLOS:STAT?` with ranges,
`:CONF:SLOT2:CTYP?`). [?] The names of what is configured besides (single channel, card pair, break before make), that a
reset ends them, and the types of cards but the 7012. A closed set is told with ranges within a row. Rows of all cards
are joined by the backplane. Not emulated, and refused with -113: scans and their triggers, stored setups, forbidden
channels, digital ports.
"""

import re
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from labctl.core.errors import BenchError
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.leftovers import Leave
from sim_backend.emulators.link import moves_freely
from sim_backend.emulators.scpi.errors import ScpiError
from sim_backend.emulators.scpi.instrument import ScpiInstrument
from sim_backend.emulators.scpi.message import Element, Kind
from sim_backend.emulators.scpi.parameters import Boolean, Parameter
from sim_backend.emulators.world import Crosspoint, World

SLOTS = {"7001": 2, "7002": 10}
CARD, NONE = "7012", "NONE"
Channel = tuple[int, int, int]
"""Slot, row and column."""
ALL = "ALL"
_CHANNEL = re.compile(r"(\d+)!(\d+)!(\d+)")
_ON = Boolean()


class ChannelList(Parameter):
    """Channels in brackets, `(@1!1!1,1!2!1:1!2!4)`, or `ALL`."""

    def value(self, element: Element) -> list[tuple[Channel, Channel]] | str:
        """Return the ranges, each with both its ends, or `ALL`."""
        if element.kind is Kind.CHARACTERS and element.text == ALL:
            return ALL
        text = "".join(element.text.split())
        if element.kind is not Kind.EXPRESSION or not text.startswith("@"):
            raise ScpiError(-171)
        ranges = []
        for part in filter(None, text[1:].split(",")):
            ends = [_CHANNEL.fullmatch(end) for end in part.split(":")]
            if None in ends or len(ends) > 2:
                raise ScpiError(-171)
            first, last = (tuple(map(int, end.groups())) for end in (ends[0], ends[-1]) if end is not None)
            ranges.append((first, last))
        return ranges  # type: ignore[return-value]

    def text(self, value: Any) -> str:
        """Return it."""
        return str(value)

    def some(self, rng: Random) -> str:
        """Return all."""
        return ALL


class K7001(ScpiInstrument):
    """A 7001 or 7002.

    Args:
        cards: slot -> name of its card; all have one shape.
        rows, columns: of a card.
    """

    maker = "KEITHLEY INSTRUMENTS INC."
    identity = "{maker},MODEL {model},{serial},{revision}"

    def __init__(
        self, name: str, model: str, world: World, *, cards: dict[int, str], rows: int = 4, columns: int = 10
    ) -> None:
        if model not in SLOTS:
            raise BenchError(f"no emulated matrix '{model}'; there are {', '.join(SLOTS)}")
        if not all(1 <= slot <= SLOTS[model] for slot in cards):
            raise BenchError(f"cards in slots {sorted(cards)} of a {model}, which has {SLOTS[model]}")
        self.cards, self.rows, self.columns = dict(cards), rows, columns
        self.shut: set[Channel] = set()
        """Channels that are closed."""
        self.sticks: Callable[[str], bool] = moves_freely
        """Whether a relay that is told to move stays where it is."""
        self.single = self.pair = False
        self.break_first = True
        super().__init__(name, model, world, serial="0503327", revision="A04  /A01")

    @property
    def closed(self) -> set[str]:
        """Closed channels, as they are spelled."""
        return {_spelled(channel) for channel in self.shut}

    def reset(self) -> None:
        """Open every channel and go back to the defaults."""
        self._move(open=set(self.shut), close=set())
        self.single = self.pair = False
        self.break_first = True

    def power_off(self) -> None:
        """Let every relay open."""
        self._move(open=set(self.shut), close=set())

    def ends_busy(self, line: bytes) -> bool:
        """Return whether a message aborts the running one."""
        return line.strip().upper().lstrip(b":").startswith(b"ABOR")

    def build(self) -> None:
        """Add the commands."""
        add, channels = self.tree.add, ChannelList()
        add(":ABORt", run=lambda: None)
        add("[:ROUTe]:CLOSe", channels, run=self._close, query=self._ask_closed, asked=(channels,))
        add("[:ROUTe]:CLOSe:STATe", query=self._closed_list)
        add("[:ROUTe]:OPEN", channels, run=self._open, query=self._ask_open, asked=(channels,))
        add("[:ROUTe]:CONFigure:SLOT<n>:CTYPe", query=self._card)
        for spelled, name in (("SCHannel", "single"), ("CPAir", "pair"), ("BBMake", "break_first")):
            self._field(f"[:ROUTe]:CONFigure:{spelled}", name)

    def _field(self, spelled: str, name: str) -> None:
        def write(value: bool) -> None:
            setattr(self, name, value)

        self.setting(spelled, _ON, lambda: getattr(self, name), write)

    # -- channels

    def _every(self, slots: Iterable[int]) -> list[Channel]:
        return [
            (slot, row, column)
            for slot in slots
            for row in range(1, 1 + self.rows)
            for column in range(1, 1 + self.columns)
        ]

    def _listed(self, ranges: list[tuple[Channel, Channel]] | str) -> list[Channel]:
        """Return the channels of a list; -222 if one does not exist."""
        if isinstance(ranges, str):
            return self._every(self.cards)
        channels = []
        for first, last in ranges:
            every = self._every([first[0]]) if first[0] in self.cards else []
            if first not in every or last not in every or every.index(first) > every.index(last):
                raise ScpiError(-222)
            channels += every[every.index(first) : every.index(last) + 1]
        return channels

    def _close(self, ranges: list[tuple[Channel, Channel]] | str) -> None:
        if isinstance(ranges, str):
            raise ScpiError(-171)
        channels = set(self._listed(ranges))
        if self.pair and self.model == "7001":
            channels |= {(3 - slot, row, column) for slot, row, column in channels if 3 - slot in self.cards}
        others = self.shut - channels if self.single else set()
        if self.break_first:
            self._move(open=others, close=set())
        self._move(open=set(), close=channels - self.shut)
        if not self.break_first:
            self._move(open=others, close=set())

    def _open(self, ranges: list[tuple[Channel, Channel]] | str) -> None:
        self._move(open=self.shut & set(self._listed(ranges)), close=set())

    def _move(self, *, open: set[Channel], close: set[Channel]) -> None:
        """Open and close relays together; they take the time of one."""
        opening, closing = ({c for c in part if not self.sticks(_spelled(c))} for part in (open, close))
        if not opening and not closing:
            return
        self.world.switch(close=map(self._ends, sorted(closing)), open=map(self._ends, sorted(opening)))
        self.shut = self.shut - opening | closing
        self.world.advance(self.world.timing.relay)

    def _ends(self, channel: Channel) -> Crosspoint:
        """Return the conductors of a channel: rows go through the backplane of all slots."""
        slot, row, column = channel
        return f"{self.name}.row{row}", f"{self.name}.{slot}-{column:02d}"

    # -- queries

    def _ask_closed(self, ranges: list[tuple[Channel, Channel]] | str = ()) -> str:  # type: ignore[assignment]
        return self._states(ranges, closed=True)

    def _ask_open(self, ranges: list[tuple[Channel, Channel]] | str = ()) -> str:  # type: ignore[assignment]
        return self._states(ranges, closed=False)

    def _states(self, ranges: list[tuple[Channel, Channel]] | str, *, closed: bool) -> str:
        if not ranges:
            raise ScpiError(-109)
        return ",".join(str(int((channel in self.shut) == closed)) for channel in self._listed(ranges))

    def _closed_list(self) -> str:
        """Return the closed channels, those that follow each other in a row as a range."""
        runs: list[list[Channel]] = []
        for channel in sorted(self.shut):
            slot, row, column = channel
            if runs and runs[-1][-1] == (slot, row, column - 1):
                runs[-1].append(channel)
            else:
                runs.append([channel])
        texts = (_spelled(run[0]) if len(run) == 1 else f"{_spelled(run[0])}:{_spelled(run[-1])}" for run in runs)
        return f"(@{','.join(texts)})"

    def _card(self, slot: int) -> str:
        if not 1 <= slot <= SLOTS[self.model]:
            raise ScpiError(-114)
        return f"C{self.cards.get(slot, NONE)}"

    def leftovers(self) -> dict[str, Leave]:
        """Return how its state is left, closed channels and slots without a card among them."""

        def relays(rng: Random) -> str | None:
            every = self._every(self.cards)
            self._move(open=set(), close=set(rng.sample(every, min(len(every), rng.randint(1, 8)))) - self.shut)
            return ",".join(sorted(self.closed)) or None

        def cards(rng: Random) -> str | None:
            if not self.cards:
                return None
            self._move(open=set(self.shut), close=set())  # cards are taken out while the mains are off
            slot = rng.choice(sorted(self.cards))
            del self.cards[slot]
            return f"none in slot {slot}"

        return {**super().leftovers(), "relays": relays, "cards": cards}


def _spelled(channel: Channel) -> str:
    """Return a channel as it is spelled.

    >>> _spelled((1, 2, 10))
    '1!2!10'
    """
    return "!".join(map(str, channel))


def emulate(name: str, options: Any, context: EmulatorContext) -> K7001:
    """Return the emulated matrix of an entry of the bench file, with a card in every slot that has a wire."""
    slots = {int(crosspoint.partition("!")[0]) for crosspoint in context.crosspoints}
    cards = dict.fromkeys(sorted(slots), CARD)
    return K7001(name, options.model, context.world, cards=cards, rows=options.rows, columns=options.columns)
