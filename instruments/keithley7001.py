"""Keithley 7001 and 7002 switch systems with matrix cards, over SCPI. Not verified on a real instrument.

Written from commands and replies that public code has for it. Verified against: transcripts of those facts, and the
emulated 7001 of this project. No driver of another library was found that it could be judged by.

A channel is slot, row and column, `1!2!10`; rows of the cards are joined over the slots by the backplane, as cards of
the 7012 family are [?]. What somebody left set on it, a scan, channels that move in pairs or one at a time, is ended by
a reset before the first relay moves, while nothing is energised: it opens every channel. What the reset does not end
shows in the closed set, which is read back behind every move.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import AfterValidator, Field

from instruments.scpi_matrix import DONE, ScpiMatrix, names
from instruments.transport import CHECK, unexpected
from instruments.tsp import old_errors_text
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import InstrumentError
from labctl.core.model import Model, one_of
from labctl.core.switch_matrix import Permit, Scheme, refuse
from labctl.core.transport import Transport

MODELS = {"7001": 2, "7002": 10}
"""Slots of each model."""
ROWS, COLUMNS = 4, 10
"""Of a card of the 7012 family."""
CROSSPOINT = re.compile(r"([1-9]|10)!([1-9])!([1-9]\d?)")
NO_CARD = "NONE"
_CLOSED = ":ROUT:CLOS:STAT?"
_LIST = re.compile(r"\(@([\d!,: ]*)\)")
_CARD = re.compile(r"C?(\w[\w-]*)")
_OPEN_ALL = (":ABOR", ":ROUT:OPEN ALL")


class Keithley7001Options(Model):
    """Options of a 7001 or 7002 in the bench file."""

    model: Annotated[str, AfterValidator(one_of("keithley7001: model", tuple(MODELS)))] = Field(
        default="7001", json_schema_extra={"x-form": f"one of {', '.join(MODELS)}"}
    )
    rows: int = Field(default=ROWS, ge=1, le=9, description="rows of its cards: 4 of a 7012")
    columns: int = Field(default=COLUMNS, ge=1, le=40, description="columns of a card: 10 of a 7012")


def scheme(options: Keithley7001Options) -> Scheme:
    """Return the spelling of a channel: slot, row and column.

    >>> scheme(Keithley7001Options())("row2", "1-10")
    '1!2!10'
    """
    slots = MODELS[options.model]

    def crosspoint(row: str, column: str) -> str:
        line, place = re.fullmatch(r"row([1-9])", row), re.fullmatch(r"([1-9]|10)-(\d\d)", column)
        if line is None or int(line[1]) > options.rows:
            raise ValueError(f"'{row}' is not a row of its cards, row1 to row{options.rows}")
        if place is None or int(place[1]) > slots or not 1 <= int(place[2]) <= options.columns:
            raise ValueError(
                f"'{column}' is not a column of a {options.model}, slot-column such as 1-07, slots up to {slots}, "
                f"columns to {options.columns}"
            )
        return f"{place[1]}!{line[1]}!{int(place[2])}"

    return crosspoint


def channels_in(text: str, columns: int = COLUMNS) -> Iterator[str]:
    """Yield the channels of one part of a list, `1!1!1` or a range within one card, row by row.

    Raises:
        InstrumentError: it is none.

    >>> list(channels_in("1!1!9:1!2!1"))
    ['1!1!9', '1!1!10', '1!2!1']
    """
    ends = [CROSSPOINT.fullmatch(end.strip()) for end in text.split(":")]
    numbers = [tuple(map(int, end.groups())) for end in ends if end is not None]
    places = [(row - 1) * columns + column - 1 for _, row, column in numbers]
    if len(numbers) != len(ends) or len(ends) > 2 or numbers[0][0] != numbers[-1][0] or places[0] > places[-1]:
        raise InstrumentError(f"'{text}' is neither a channel such as 1!2!10 nor a range of channels of one card")
    if max(column for _, _, column in numbers) > columns:
        raise InstrumentError(f"'{text}' is beyond the {columns} columns of a card")
    for place in range(places[0], places[-1] + 1):
        yield f"{numbers[0][0]}!{place // columns + 1}!{place % columns + 1}"


class Keithley7001(ScpiMatrix):
    """A 7001 or 7002 with matrix cards of one shape.

    Args:
        transport: the wire.
        name: in the bench file.
        options: from the bench file.
        permit: raises unless nothing is energised.
    """

    crosspoint, example, question, parts = CROSSPOINT, "1!2!10", _CLOSED, "cards and its configuration"

    def __init__(
        self,
        transport: Transport,
        name: str = "matrix",
        options: Keithley7001Options | None = None,
        permit: Permit = refuse,
    ) -> None:
        self._options = options or Keithley7001Options()
        super().__init__(transport, name, model=self._options.model, permit=permit)

    def _has(self, crosspoint: str) -> bool:
        match = CROSSPOINT.fullmatch(crosspoint)
        if match is None:
            return False
        slot, row, column = map(int, match.groups())
        return slot <= MODELS[self._model] and row <= self._options.rows and column <= self._options.columns

    def _read_closed(self) -> frozenset[str]:
        return self._parsed(self._scpi.transport.query(_CLOSED).strip())

    def _parse(self, reply: str) -> frozenset[str]:
        match = _LIST.fullmatch(reply.strip())
        if match is None:
            raise InstrumentError(f"'{reply}' is not a list of channels")
        parts = filter(None, map(str.strip, match[1].split(",")))
        return frozenset(channel for part in parts for channel in channels_in(part, self._options.columns))

    def _settle_moves(self) -> None:
        """Reset it, which ends a scan and opens every channel; InstrumentError if one is closed behind that."""
        self._scpi.set(":ABOR;*RST")
        if closed := self._read_closed():
            raise InstrumentError(f"{self.name}: {names(closed)} closed after a reset; no relay moves; {CHECK}")

    def emergency_open(self) -> frozenset[str]:
        """Abort and open every channel by the first bytes of a fresh connection; then verify. Sources are verified.

        Returns:
            No crosspoint: which were closed would have to be asked before they open.

        Raises:
            InstrumentError: it cannot be reached, does not answer, or reports a closed channel.
        """
        self._present, self._set = None, False
        done, closed = self._scpi.cut_in(_OPEN_ALL, [DONE, _CLOSED])
        if done != "1" or self._parsed(closed):
            raise unexpected(self.name, _OPEN_ALL[1], f"{done};{closed}", "'1;(@)', every channel open")
        self._present = frozenset()
        return frozenset()

    def cards(self) -> dict[int, str]:
        """Return the type of the card in each slot, "" for a slot without one.

        [?] It is the number of the card behind a C, and CNONE without one.
        """
        slots = range(1, 1 + MODELS[self._model])
        replies = self._scpi.ask([f":ROUT:CONF:SLOT{slot}:CTYP?" for slot in slots])
        cards = {}
        for slot, reply in zip(slots, replies, strict=True):
            match = _CARD.fullmatch(reply.strip('"'))
            if match is None:
                raise unexpected(self.name, f":ROUT:CONF:SLOT{slot}:CTYP?", reply, "the type of a card, such as C7012")
            cards[slot] = "" if match[1] == NO_CARD else match[1]
        return cards

    def unusable(self, crosspoints: Iterable[str]) -> list[str]:
        """Return what of `crosspoints` it has no card for, in operator words; empty if it has all."""
        cards, wanted = self.cards(), list(crosspoints)
        lacking = []
        for slot in sorted({int(crosspoint.partition("!")[0]) for crosspoint in wanted}):
            if not cards.get(slot):
                used = [crosspoint for crosspoint in wanted if crosspoint.startswith(f"{slot}!")]
                lacking.append(f"slot {slot} has no card, and the wiring uses {names(used)} of it")
        return lacking

    def diagnosis(self) -> tuple[list[str], list[str]]:
        """Return its cards and old errors; nothing that needs a person."""
        cards = ", ".join(f"{slot}: {card or 'none'}" for slot, card in self.cards().items())
        left = "scan, pairs and single channels: they cannot be read; a reset ends them before the first relay moves"
        return [f"cards in slots {cards}", left, *old_errors_text(self.old_errors)], []


def _make(name: str, options: Keithley7001Options, transport: Transport) -> Keithley7001:
    """Return the driver of a 7001 or 7002."""
    return Keithley7001(transport, name, options)


DRIVER = Driver(DriverKind.MATRIX, _make, Keithley7001Options, scheme=scheme, emulator="keithley7001")
