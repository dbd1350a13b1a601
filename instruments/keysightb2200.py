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
from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from instruments.scpi import NEXT_ERROR, Refused, Scpi, error_in
from instruments.transport import CHECK, unexpected
from instruments.tsp import old_errors_text
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.model import Model, one_of
from labctl.core.switch_matrix import Permit, refuse
from labctl.core.transport import Transport, Wait

MODELS = ("B2200A", "B2201A")
INPUTS, OUTPUTS, SLOTS = 14, 12, 4
"""Inputs, outputs of a module, and modules at most."""
CROSSPOINT = re.compile(r"0(0[1-9]|1[0-4])(0[1-9]|[1-3]\d|4[0-8])")
"""A channel of the auto configuration: 0, input, output."""
_INPUT, _OUTPUT = re.compile(r"in([1-9]|1[0-4])"), re.compile(r"out([1-9]|[1-3]\d|4[0-8])")
_LIST = re.compile(r"\(@([\d, ]*)\)")
_AT_ONCE = 40
"""Channels of one list."""
AUTO, NORMAL = "ACON", "NCON"
_FUNCTION = ":ROUT:FUNC?"
_CLOSED = ":ROUT:CLOS:CARD?"
_DONE = "*OPC?"
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


class KeysightB2200:
    """A matrix of 14 inputs and up to 48 outputs; a crosspoint is 0, two digits of the input, two of the output.

    Args:
        transport: the wire.
        name: in the bench file.
        model: as the bench file states it.
        permit: raises unless nothing is energised.
    """

    def __init__(
        self, transport: Transport, name: str = "matrix", *, model: str = "B2200A", permit: Permit = refuse
    ) -> None:
        self.name, self.permit, self._model = name, permit, model
        self._scpi = Scpi(transport, name)
        self._present: frozenset[str] | None = None
        self._set = False
        self.old_errors: tuple[str, ...] = ()
        """Errors that stood in the queue of the instrument when it was connected."""

    def connect(self) -> str:
        """Read identity and the closed set, and empty the error queue by reading it; set and move nothing.

        Raises:
            BenchError: another model answers.
        """
        identity = self._scpi.identity(self._model)
        self.old_errors = self._scpi.errors()
        self.closed()
        return identity

    def closed(self) -> frozenset[str]:
        """Read the closed crosspoints, in either configuration."""
        self._present = None
        if self._is_auto():
            self._present = self._parsed(_CLOSED, self._scpi.transport.query(f"{_CLOSED} 0").strip())
        else:  # a slot without a module has no list
            lists = {card: self._if_there(f"{_CLOSED} {card}") for card in range(1, 1 + SLOTS)}
            parts = [self._parsed(_CLOSED, text, card) for card, text in lists.items() if text is not None]
            self._present = frozenset().union(*parts)
        return self._present

    def route(self, closed: Iterable[str]) -> None:
        """Close exactly `closed`, starting from the set that was last read back.

        Raises:
            BenchError: a crosspoint that no B2200 has; nothing has moved.
            InstrumentError: the permit refused, a setting was not taken, or the closed set that is read back is
                another; the message names the difference.
        """
        wanted = frozenset(closed)
        for crosspoint in sorted(wanted):
            if not CROSSPOINT.fullmatch(crosspoint):
                raise BenchError(f"{self.name}: '{crosspoint}' is not a crosspoint of a {self._model}, such as 00248")
        present = self.closed() if self._present is None else self._present
        if present == wanted:
            return
        self.permit()
        if not self._set:
            self._settle_moves()
            present = self.closed()
            self._set = True
        self._present = None
        if opening := sorted(present - wanted):
            present = self._move("OPEN", opening, present & wanted)
        if closing := sorted(wanted - present):
            present = self._move("CLOS", closing, wanted)
        self._present = present

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

    def _move(self, verb: str, channels: Sequence[str], wanted: frozenset[str]) -> frozenset[str]:
        """Open or close channels, and return the closed set that is read back.

        Raises:
            InstrumentError: it refused, or the closed set is not `wanted`.
        """
        parts = [channels[at : at + _AT_ONCE] for at in range(0, len(channels), _AT_ONCE)]
        lines = [f":ROUT:{verb} (@{','.join(part)})" for part in parts]
        # [?] A question in the next message is answered when the relays have moved.
        ask = f"{_DONE};{NEXT_ERROR};{_CLOSED} 0"
        reply = self._scpi.transport.query("\n".join([*lines, ask]), wait=Wait.RELAY).strip()
        done, _, rest = reply.partition(";")
        error, _, closed = rest.rpartition(";")
        try:
            code, text = error_in(error)
        except InstrumentError as fault:
            raise unexpected(self.name, ask, reply, "1, an error and a list of channels") from fault
        if code:
            reasons = "; ".join([f"{code} {text}", *self._scpi.errors()])
            raise Refused(f"{self.name} refused a route: {reasons}; {CHECK}")
        if done != "1":
            raise unexpected(self.name, _DONE, done, "1")
        after = self._parsed(_CLOSED, closed)
        if after != wanted:
            raise InstrumentError(
                f"{self.name}: closed should be {_names(wanted)}; missing {_names(wanted - after)}, too many "
                f"{_names(after - wanted)}. Look at its modules, and whether another program moves relays"
            )
        return after

    def emergency_open(self) -> frozenset[str]:
        """Open every relay by the first bytes of a fresh connection; then verify. The caller has verified the sources.

        Returns:
            No crosspoint: which were closed would have to be asked before they open.

        Raises:
            InstrumentError: it cannot be reached, does not answer, or reports a closed relay.
        """
        self._present, self._set = None, False
        function, closed = self._scpi.cut_in(_OPEN_ALL, [_FUNCTION, f"{_CLOSED} 0"])
        if function != AUTO or self._parsed(_CLOSED, closed):
            raise unexpected(self.name, _OPEN_ALL[2], f"{function};{closed}", f"'{AUTO};(@)', every relay open")
        self._present = frozenset()
        return frozenset()

    def unusable(self, crosspoints: Iterable[str]) -> list[str]:
        """Return what of `crosspoints` it has no module for, in operator words; empty if it has all."""
        outputs = OUTPUTS * self._modules()
        beyond = [crosspoint for crosspoint in crosspoints if int(crosspoint[-2:]) > outputs]
        if not beyond:
            return []
        return [f"its modules have outputs 1 to {outputs}, and the wiring uses {_names(beyond)} beyond them"]

    def diagnosis(self) -> tuple[list[str], list[str]]:
        """Return its modules, settings that are not as they will be set, old errors; nothing that needs a person."""
        modules = self._modules()
        state = [f"{modules} module{'s' * (modules != 1)} from slot 1 on, outputs 1 to {OUTPUTS * modules}"]
        present = self._moves() if self._is_auto() else {":ROUT:FUNC": NORMAL}
        others = [f"{name} {value}" for name, value in present.items() if value != MOVES[name]]
        if others:
            state.append(f"not as after a reset, and set anew before a relay moves: {', '.join(others)}")
        return [*state, *old_errors_text(self.old_errors)], []

    def close(self) -> None:
        """Close the connection; relays stay as they are."""
        self._scpi.transport.close()

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

    def _parsed(self, command: str, reply: str, card: int = 0) -> frozenset[str]:
        """Return the crosspoints that a reply lists; InstrumentError if it is no such list."""
        try:
            return parse_closed(reply, card)
        except InstrumentError as error:
            raise unexpected(self.name, command, reply, f"channels of card {card} such as (@00248)") from error


def _names(crosspoints: Iterable[str]) -> str:
    """Return crosspoints as text, at most eight of them.

    >>> _names([])
    'none'
    """
    names = sorted(crosspoints)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "none"


def _make(name: str, options: KeysightB2200Options, transport: Transport) -> KeysightB2200:
    """Return the driver of a B2200A or B2201A."""
    return KeysightB2200(transport, name, model=options.model)


DRIVER = Driver(DriverKind.MATRIX, _make, KeysightB2200Options, scheme=lambda options: scheme, emulator="keysightb2200")
