"""Keithley 707B and 708B switch matrices: `channel.*` over the relays of the world.

Dialect: Series 700B reference manual (707B-901-01). An address is slot, row letter and two-digit column (`1A05`);
lists are separated by commas or semicolons, ranges by a colon (`1A01:1A05`), `slotN` and `allslots` name many, except
where channels are to close. A bad address refuses the whole command: nothing moves. What a user may set of single
channels is in `k707_channels`, scans are in `k707_scan`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from labctl.core.errors import BenchError
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.k707_channels import PARAMETER_ERROR, ChannelSettings
from sim_backend.emulators.k707_scan import Scan
from sim_backend.emulators.leftovers import Leave
from sim_backend.emulators.link import moves_freely
from sim_backend.emulators.tsp.instrument import TspInstrument
from sim_backend.emulators.tsp.vm import Lua, Refusal, number
from sim_backend.emulators.world import Crosspoint, World

BREAK_BEFORE_MAKE, MAKE_BEFORE_BREAK, OFF = 1, 2, 0
_ADDRESS = re.compile(r"([1-9])([A-H])(\d{2})")
_LIST = re.compile(r"[,;]")


@dataclass(frozen=True)
class Card:
    """A matrix card: rows lettered from A, columns numbered from 1."""

    name: str
    rows: int
    columns: int


CARDS: dict[str, Card] = {
    card.name: card
    for card in (
        Card("7071", 8, 12), Card("7072", 8, 12), Card("7072-HV", 8, 12), Card("7073", 8, 12),
        Card("7074-D", 8, 12), Card("7076", 8, 12), Card("7077", 8, 12), Card("7078-DIN", 8, 12),
        Card("7173-50", 4, 12), Card("7174A", 8, 12),
    )
}  # fmt: skip
CARD = "7174A"
"""Card of every slot in the twin of a bench: 8 rows by 12 columns."""
SLOTS = {"707B": 6, "708B": 1}


class K707(TspInstrument):
    """A 707B or 708B.

    Args:
        cards: slot -> name of its card.
    """

    maker = "Keithley Instruments Inc."

    def __init__(self, name: str, model: str, world: World, *, cards: Mapping[int, str], **options: Any) -> None:
        if model not in SLOTS:
            raise BenchError(f"no emulated matrix '{model}'; there are {', '.join(SLOTS)}")
        for slot, card in cards.items():
            if not 1 <= slot <= SLOTS[model]:
                raise BenchError(f"slot {slot} in a {model}, which has {SLOTS[model]}")
            if card not in CARDS:
                raise BenchError(f"no card '{card}'; there are {', '.join(CARDS)}")
        self.cards = {slot: CARDS[card] for slot, card in sorted(cards.items())}
        self._addresses = {
            slot: [
                f"{slot}{row}{column:02d}" for row in "ABCDEFGH"[: card.rows] for column in range(1, card.columns + 1)
            ]
            for slot, card in self.cards.items()
        }
        self.closed: set[str] = set()
        self.sticks: Callable[[str], bool] = moves_freely
        """Whether a relay that is told to move stays where it is."""
        self.connectrule, self.connectsequential = BREAK_BEFORE_MAKE, 0
        self.pseudocards: set[int] = set()
        """Slots whose card is none of hardware: what is closed there closes nothing."""
        super().__init__(name, model, world, **options)

    def build(self) -> None:
        """Add `channel` and `slot`."""
        lua = self.lua
        self.settings = ChannelSettings(
            lua, self.addresses, lambda: self.closed, lambda: self._slot_addresses(*self.cards)
        )
        self.scan = Scan(self.world, self._closing, lambda: self.closed, lambda o, c: self._move(open=o, close=c))
        lua.globals["scan"] = self.scan.node(lua)
        lua.globals["channel"] = self._channels(lua, self.settings.objects())
        lua.globals["slot"] = lua.table(
            {slot: lua.node("slot", get={"idn": partial(self._card, slot)}) for slot in range(1, 1 + SLOTS[self.model])}
        )

    def _channels(self, lua: Lua, more: Mapping[str | int, Any]) -> Any:
        """Return `channel`, with `more` objects, for an interpreter, its own or that of another node."""
        return lua.node(
            "channel",
            get={
                "connectrule": lambda: self.connectrule,
                "connectsequential": lambda: self.connectsequential,
            },
            set={
                "connectrule": lambda v: self._choose("connectrule", v, 2),
                "connectsequential": lambda v: self._choose("connectsequential", v, 1),
            },
            objects={
                "BREAK_BEFORE_MAKE": BREAK_BEFORE_MAKE, "MAKE_BEFORE_BREAK": MAKE_BEFORE_BREAK, "OFF": OFF, "ON": 1,
                **more,
                "close": lambda names: self._move(close=self._closing(names)),
                "open": lambda names: self._move(open=self.addresses(names)),
                "exclusiveclose": self._exclusive,
                "exclusiveslotclose": self._exclusive_slots,
                "getclose": self._get_close,
                "getstate": self._get_state,
                "reset": self._reset_channels,
            },
        )  # fmt: skip

    def remote(self, lua: Lua) -> dict[str | int, Any]:
        """Return its objects for the interpreter of another node: what it is, and `channel` without its patterns."""
        settings = {name: of for name, of in self.settings.objects().items() if name != "pattern"}
        return {**super().remote(lua), "channel": self._channels(lua, settings)}

    def execute(self, message: str) -> str:
        """Execute one message, behind the steps of a scan that have become due."""
        self.scan.go_on()
        return super().execute(message)

    def trigger(self) -> None:
        """Process a `*TRG`."""
        self.scan.trigger()

    def _card(self, slot: int) -> str:
        """Return the identity of the card in a slot. [?] An empty one says so."""
        card, pseudo = self.cards.get(slot), "Pseudo " if slot in self.pseudocards else ""
        return f"{card.name},{pseudo}{card.rows}x{card.columns} Matrix,00.00a,0000000" if card else "Empty Slot"

    def addresses(self, names: Any) -> list[str]:
        """Return the crosspoints that a channel list names, in its order; Refusal 1115 if one does not exist."""
        if not isinstance(names, str):
            raise Refusal(-104, "Data type error")
        addresses: list[str] = []
        for item in (part.strip() for part in _LIST.split(names)):
            if (behind := self.settings.named(item)) is not None:
                addresses += behind
            elif item.lower() == "allslots":
                addresses += self._slot_addresses(*self.cards)
            elif item.lower().startswith("slot") and item[4:].isdigit() and int(item[4:]) in self.cards:
                addresses += self._slot_addresses(int(item[4:]))
            elif ":" in item:
                first, last = (self._address(end.strip()) for end in item.split(":", 1))
                every = self._slot_addresses(int(first[0])) if first[0] == last[0] else []
                if first not in every or every.index(first) > every.index(last):
                    raise Refusal(PARAMETER_ERROR, "Parameter error: invalid channel range")
                addresses += every[every.index(first) : every.index(last) + 1]
            else:
                addresses.append(self._address(item))
        return list(dict.fromkeys(addresses))

    def _closing(self, names: Any) -> list[str]:
        """Return the crosspoints of a list that is to close; Refusal if it names whole slots or a forbidden one."""
        addresses = self.addresses(names)
        if any(part.strip().lower().startswith(("slot", "allslots")) for part in _LIST.split(names)):
            raise Refusal(PARAMETER_ERROR, "Parameter error: slots cannot be closed")
        self.settings.require_permitted(addresses)
        return addresses

    def _address(self, text: str) -> str:
        match = _ADDRESS.fullmatch(text.upper())
        card = self.cards.get(int(match[1])) if match else None
        if match and card and "ABCDEFGH".index(match[2]) < card.rows and 1 <= int(match[3]) <= card.columns:
            return text.upper()
        raise Refusal(PARAMETER_ERROR, "Parameter error: channel does not exist")

    def _slot_addresses(self, *slots: int) -> list[str]:
        return [address for slot in slots for address in self._addresses[slot]]

    def _crosspoint(self, address: str) -> Crosspoint:
        """Return (row, column): rows go through the backplane of all slots, columns are a card's own."""
        return f"{self.name}.{address[1]}", f"{self.name}.{address[0]}-{address[2:]}"

    def _move(self, close: list[str] | None = None, open: list[str] | None = None) -> None:
        """Close or open relays together, or one after the other with `connectsequential`; each takes its time."""
        closing = [a for a in close or [] if a not in self.closed and not self.sticks(a)]
        opening = [a for a in open or [] if a in self.closed and not self.sticks(a)]
        if not closing and not opening:
            return
        groups = [[a] for a in closing + opening] if self.connectsequential else [closing + opening]
        for group in groups:
            self.world.switch(
                close=[self._crosspoint(a) for a in group if a in closing and int(a[0]) not in self.pseudocards],
                open=[self._crosspoint(a) for a in group if a in opening],
            )
            self.closed = (self.closed | (set(group) & set(closing))) - (set(group) & set(opening))
            self.world.advance(self.world.timing.relay + self.settings.delay(a for a in group if a in closing))

    def _exclusive(self, names: Any) -> None:
        wanted = [] if isinstance(names, str) and not names.strip() else self._closing(names)
        self._replace(sorted(self.closed - set(wanted)), wanted)

    def _exclusive_slots(self, names: Any) -> None:
        wanted = self._closing(names)
        slots = {a[0] for a in wanted}
        self._replace(sorted(a for a in self.closed - set(wanted) if a[0] in slots), wanted)

    def _replace(self, old: list[str], new: list[str]) -> None:
        if self.connectrule == MAKE_BEFORE_BREAK:
            self._move(close=new)
            self._move(open=old)
        elif self.connectrule == BREAK_BEFORE_MAKE:
            self._move(open=old)
            self._move(close=new)
        else:
            self._move(close=new, open=old)

    def _get_close(self, names: Any) -> tuple[str | None]:
        closed = [a for a in self.addresses(names) if a in self.closed]
        return (";".join(closed) or None,)  # one value, nil, instead of no value: prints `nil`

    def _get_state(self, names: Any) -> str:
        return ",".join(str(int(a in self.closed)) for a in self.addresses(names))

    def _reset_channels(self, names: Any) -> None:
        addresses = self.addresses(names)
        self._move(open=addresses)
        self.settings.reset(addresses)

    def _choose(self, name: str, value: Any, most: int) -> None:
        wanted = number(value)
        if wanted not in range(most + 1):
            raise Refusal(1101, "Parameter too big") if wanted > most else Refusal(1102, "Parameter too small")
        setattr(self, name, int(wanted))

    def leftovers(self) -> dict[str, Leave]:
        """Return how the parts of its state are left, closed relays and other cards among them."""

        def cards(rng: Random) -> str | None:
            if not self.cards:
                return None
            self._move(open=sorted(self.closed))  # cards are changed while the mains are off
            slot = rng.choice(list(self.cards))
            if rng.random() < 0.3:
                del self.cards[slot]
            elif rng.random() < 0.3:
                self.pseudocards.add(slot)
            else:
                self.cards[slot] = CARDS[rng.choice(list(CARDS))]
            return self._card(slot)

        def relays(rng: Random) -> str:
            every = self._slot_addresses(*self.cards)
            self._move(close=rng.sample(every, min(len(every), rng.randint(1, 8))))
            return ";".join(sorted(self.closed))

        more = self.settings.leftovers() | self.scan.leftovers(lambda: self._slot_addresses(*self.cards))
        return {**super().leftovers(), **more, "relays": relays, "cards": cards}

    def power_off(self) -> None:
        """Let every relay open."""
        self._move(open=sorted(self.closed))

    def reset(self) -> None:
        """Open every crosspoint and go back to the defaults."""
        self._move(open=sorted(self.closed))
        self.connectrule, self.connectsequential = BREAK_BEFORE_MAKE, 0
        self.settings.reset(self._slot_addresses(*self._addresses))
        self.scan.reset()
        self.format.reset()


def emulate(name: str, options: Any, context: EmulatorContext) -> K707:
    """Return the emulated matrix of an entry of the bench file, with a card in every slot that has a wire."""
    slots = sorted({int(crosspoint[0]) for crosspoint in context.crosspoints})
    made = K707(name, options.model, context.world, cards=dict.fromkeys(slots, CARD))
    if (node := getattr(options, "tsplink", None)) is not None:  # a stranger's driver has options of its own
        made.link.cable(node, made)
    return made
