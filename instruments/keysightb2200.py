"""Keysight (Agilent) B2200A and B2201A switch matrices over SCPI. Not verified on a real instrument.

Written from the user's guide and the commands that QCoDeS publishes. Verified against: transcripts of those facts, the
emulated B2200 of this project, and that in turn by QCoDeS's driver.

It has 14 inputs and 12 outputs a module, which are used as one matrix (auto configuration). Three of its modes move
relays that nobody has named: bias and ground modes put unused outputs onto a port, couple mode closes relays in pairs.
They are off before the first relay moves. So is the single-route rule, by which a relay that closes opens others: a
channel drives several lines, and what opens before what closes is decided here. Relays open in a message of their own,
and the others close once the closed set that is read back is what was to be left.
"""

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, Field

from instruments.scpi import NEXT_ERROR, error_in
from instruments.scpi_matrix import ScpiMatrix, names
from instruments.transport import CHECK, unexpected
from instruments.tsp import old_errors_text
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import InstrumentError
from labctl.core.model import Model, one_of
from labctl.core.switch_matrix import Permit, refuse
from labctl.core.transport import Transport

MODELS = ("B2200A", "B2201A")
INPUTS, OUTPUTS, SLOTS = 14, 12, 4
"""Inputs, outputs of a module, and modules at most."""
CROSSPOINT = re.compile(r"0(0[1-9]|1[0-4])(0[1-9]|[1-3]\d|4[0-8])")
"""A channel of the auto configuration: 0, input, output."""
_INPUT, _OUTPUT = re.compile(r"in([1-9]|1[0-4])"), re.compile(r"out([1-9]|[1-3]\d|4[0-8])")
_LIST = re.compile(r"\(@([\d, ]*)\)")
AUTO, NORMAL = "ACON", "NCON"
_FUNCTION = ":ROUT:FUNC?"
_CLOSED = ":ROUT:CLOS:CARD?"
UNKNOWN_CHANNEL = f":ROUT:CLOS? (@00100);{NEXT_ERROR}"
"""Asks for a channel that there is in no configuration, and for the error of that."""
MOVES = {
    ":ROUT:FUNC": AUTO, ":ROUT:BIAS": "0", ":ROUT:AGND": "0", ":ROUT:COUP": "0", ":ROUT:CONN:RULE": "FREE",
    ":ROUT:CONN:SEQ": "BBM",
}  # fmt: skip
"""Settings that change which relays move and how; all but the first are of card 0, which is all modules."""
_MODES = [name for name in MOVES if name != ":ROUT:FUNC"]
_SETTINGS = ";".join([f":ROUT:FUNC {AUTO}", *(f"{name} 0,{MOVES[name]}" for name in _MODES)])
_OPEN_ALL = (":ROUT:BIAS ALL,0", ":ROUT:AGND ALL,0", ":ROUT:OPEN:CARD ALL", f":ROUT:FUNC {AUTO}")
"""Opens every relay in any configuration: a port that outputs are put onto by themselves would take them again."""


def scheme(row: str, column: str) -> str:
    """Return the channel of an input and an output; ValueError if there is no such one.

    >>> scheme("in2", "out48")
    '00248'
    """
    port, output = _INPUT.fullmatch(row), _OUTPUT.fullmatch(column)
    if port is None:
        raise ValueError(f"'{row}' is not an input of a B2200, in1 to in{INPUTS}")
    if output is None:
        raise ValueError(f"'{column}' is not an output of a B2200, out1 to out{OUTPUTS * SLOTS}")
    return f"0{int(port[1]):02d}{int(output[1]):02d}"


def parse_closed(reply: str, card: int = 0) -> frozenset[str]:
    """Return the channels of a list as the auto configuration spells them; InstrumentError if it is none of `card`.

    >>> sorted(parse_closed("(@00248,01012)")), sorted(parse_closed("(@20203)", card=2)), parse_closed("(@)")
    (['00248', '01012'], ['00215'], frozenset())
    """
    match = _LIST.fullmatch(reply.strip())
    if match is None:
        raise InstrumentError(f"'{reply}' is not a list of channels such as (@00248,01012)")
    closed = set()
    for text in filter(None, map(str.strip, match[1].split(","))):
        of, port, output = int(text) // 10000, int(text) // 100 % 100, int(text) % 100
        channel = f"0{port:02d}{output + OUTPUTS * max(0, card - 1):02d}"
        if of != card or not CROSSPOINT.fullmatch(channel):
            raise InstrumentError(f"'{text}' in '{reply}' is not a channel of card {card}")
        closed.add(channel)
    return frozenset(closed)


class KeysightB2200Options(Model):
    """Options of a B2200A or B2201A in the bench file."""

    model: Annotated[str, AfterValidator(one_of("keysightb2200: model", MODELS))] = Field(
        default="B2200A", json_schema_extra={"x-form": f"one of {', '.join(MODELS)}"}
    )


class KeysightB2200(ScpiMatrix):
    """A matrix of 14 inputs and up to 48 outputs; a crosspoint is 0, two digits of the input, two of the output.

    Args:
        transport: the wire.
        name: in the bench file.
        model: as the bench file states it.
        permit: raises unless nothing is energised.
    """

    crosspoint, example, question, parts = CROSSPOINT, "00248", f"{_CLOSED} 0", "modules"

    def __init__(
        self, transport: Transport, name: str = "matrix", *, model: str = "B2200A", permit: Permit = refuse
    ) -> None:
        super().__init__(transport, name, model=model, permit=permit)

    def _read_closed(self) -> frozenset[str]:
        """Read the closed crosspoints, in either configuration."""
        if self._is_auto():
            return self._parsed(self._scpi.transport.query(self.question).strip())
        # a slot without a module has no list
        lists = {card: self._if_there(f"{_CLOSED} {card}") for card in range(1, 1 + SLOTS)}
        closed: set[str] = set()
        for card, reply in lists.items():
            try:
                closed |= parse_closed("(@)" if reply is None else reply, card)
            except InstrumentError as error:
                raise unexpected(self.name, f"{_CLOSED} {card}", str(reply), f"channels of card {card}") from error
        return frozenset(closed)

    def _parse(self, reply: str) -> frozenset[str]:
        return parse_closed(reply)

    def _settle_moves(self) -> None:
        """Set which relays move and how, and read it back; InstrumentError if it was not taken."""
        self._scpi.set(_SETTINGS)
        for name, value in self._moves().items():
            if value != MOVES[name]:
                raise InstrumentError(
                    f"{self.name}: {name} is {value} after {MOVES[name]} was set; no relay moves; {CHECK}"
                )

    def _moves(self) -> dict[str, str]:
        """Return the settings of `MOVES` as they are, in the auto configuration."""
        queries = [_FUNCTION, *(f"{name}? 0" for name in _MODES)]
        return dict(zip(MOVES, self._scpi.ask(queries), strict=True))

    def emergency_open(self) -> frozenset[str]:
        """Open every relay by the first bytes of a fresh connection; then verify. The caller has verified the sources.

        Returns:
            No crosspoint: which were closed would have to be asked before they open.

        Raises:
            InstrumentError: it cannot be reached, does not answer, or reports a closed relay.
        """
        self._present, self._set = None, False
        function, closed = self._scpi.cut_in(_OPEN_ALL, [_FUNCTION, f"{_CLOSED} 0"])
        if function != AUTO or self._parsed(closed):
            raise unexpected(self.name, _OPEN_ALL[2], f"{function};{closed}", f"'{AUTO};(@)', every relay open")
        self._present = frozenset()
        return frozenset()

    def unusable(self, crosspoints: Iterable[str]) -> list[str]:
        """Return what of `crosspoints` it has no module for, in operator words; empty if it has all."""
        outputs = OUTPUTS * self._modules()
        beyond = [crosspoint for crosspoint in crosspoints if int(crosspoint[-2:]) > outputs]
        if not beyond:
            return []
        return [f"its modules have outputs 1 to {outputs}, and the wiring uses {names(beyond)} beyond them"]

    def diagnosis(self) -> tuple[list[str], list[str]]:
        """Return its modules, settings that are not as they will be set, old errors; nothing that needs a person."""
        modules = self._modules()
        state = [f"{modules} module{'s' * (modules != 1)} from slot 1 on, outputs 1 to {OUTPUTS * modules}"]
        present = self._moves() if self._is_auto() else {":ROUT:FUNC": NORMAL}
        others = [f"{name} {value}" for name, value in present.items() if value != MOVES[name]]
        if others:
            state.append(f"not as after a reset, and set anew before a relay moves: {', '.join(others)}")
        return [*state, *old_errors_text(self.old_errors)], []

    def _is_auto(self) -> bool:
        """Return whether all modules are one matrix; InstrumentError for a reply that says neither."""
        reply = self._scpi.transport.query(_FUNCTION).strip()
        if reply not in (AUTO, NORMAL):
            raise unexpected(self.name, _FUNCTION, reply, f"{AUTO} or {NORMAL}")
        return reply == AUTO

    def _modules(self) -> int:
        """Return the number of modules from slot 1 on, by whether it knows their channels."""
        auto = self._is_auto()
        for module in range(1, 1 + SLOTS):
            channel = f"001{OUTPUTS * module:02d}" if auto else f"{module}0101"
            if self._if_there(f":ROUT:CLOS? (@{channel})") is None:
                return module - 1
        return SLOTS

    def _if_there(self, query: str) -> str | None:
        """Return the reply to a query; None if what it asks for does not exist.

        [?] That is an error of execution, behind which the rest of the message is answered: the question for the error.
        """
        text = f"{query};{NEXT_ERROR}"
        reply, _, error = self._scpi.transport.query(text).strip().rpartition(";")
        try:
            code, _ = error_in(error)
        except InstrumentError as fault:
            raise unexpected(self.name, text, f"{reply};{error}", "a reply and an error, or an error") from fault
        if not reply and not code:
            raise unexpected(self.name, text, error, "a reply, or an error")
        return reply or None


def _make(name: str, options: KeysightB2200Options, transport: Transport) -> KeysightB2200:
    """Return the driver of a B2200A or B2201A."""
    return KeysightB2200(transport, name, model=options.model)


DRIVER = Driver(DriverKind.MATRIX, _make, KeysightB2200Options, scheme=lambda options: scheme, emulator="keysightb2200")
