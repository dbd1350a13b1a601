"""Keithley 707B and 708B switch matrices. Written from public manual facts; not verified on a real instrument.

Verified against: transcripts of the manual's facts, and the emulated 707B of this project.

Relays that switch under voltage weld. So no relay moves before a permit has verified that nothing is energised; relays
open in one command before others close in the next (the instrument's own connect rule does not govern these), and only
if the first was accepted; the closed set is read back. The instrument does all of it in one round trip: a night has
hundreds of thousands of routes. Before the first of them, the settings that change how relays move and how long that
takes are set and read back. A crosspoint that somebody has forbidden to close is not made free, but refused: whoever
forbade it may have had a reason.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from instruments.transport import CHECK, unexpected
from instruments.tsp import COUNTED, LONGEST_CHUNK, Refused, Tsp, old_errors_text
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.model import Model, one_of
from labctl.core.switch_matrix import Permit, Scheme, refuse
from labctl.core.transport import Transport, Wait
from labctl.core.units import Second

MODELS = ("707B", "708B")
SLOTS = {"707B": 6, "708B": 1}
_CLOSED = 'channel.getclose("allslots")'
CROSSPOINT = re.compile(r"[1-6][A-H](0[1-9]|1[0-2])")
_SHAPE = re.compile(r"(\d+)\s*[xX]\s*(\d+)")
MOVES = {"channel.connectsequential": 0, "channel.connectrule": 1}
"""Settings that change how and how fast relays move: those of one command together, break before make."""
# [?] Lists of `getdelay`, `getforbidden`, `getlabel`: an entry a channel, with commas; of `getimage` with semicolons.
DELAYS = 'channel.getdelay("allslots")'
NO_DELAYS = 'channel.setdelay("allslots",0)'
"""Sets what each channel waits beyond its settling when it closes."""
FORBIDDEN = 'channel.getforbidden("allslots")'
LABELS = 'channel.getlabel("allslots")'
_PATTERNS = 'local n="" for p in channel.pattern.catalog() do n=n..p.." " end print(n)'
_SCAN = "(scan.state())"
_RUNNING = 2
"""State of a scan that goes on in the background."""
_AT_ONCE = 150
"""Crosspoints that are asked for in one message."""


def scheme(model: str) -> Scheme:
    """Return the spelling of a crosspoint of `model`: slot, row letter and two-digit column.

    >>> scheme("707B")("A", "1-05")
    '1A05'
    """

    def crosspoint(row: str, column: str) -> str:
        slots = SLOTS[model]
        if not re.fullmatch("[A-H]", row):
            raise ValueError(f"'{row}' is not a row of a {model}, a letter from A to H")
        match = re.fullmatch(r"([1-9])-(0[1-9]|1[0-2])", column)
        if match is None or int(match[1]) > slots:
            raise ValueError(
                f"'{column}' is not a column of a {model}, slot-column such as 1-07, slots up to {slots}, columns to 12"
            )
        return f"{match[1]}{row}{match[2]}"

    return crosspoint


def parse_closed(reply: str) -> frozenset[str]:
    """Return the crosspoints in the answer of ``channel.getclose``, or another function that lists channels.

    >>> sorted(parse_closed("1A01;2B12")), sorted(parse_closed("1A01,2B12"))
    (['1A01', '2B12'], ['1A01', '2B12'])
    >>> parse_closed("nil")
    frozenset()
    """
    if reply.strip() in ("nil", ""):
        return frozenset()
    closed = frozenset(part.strip() for part in re.split("[;,]", reply))
    for crosspoint in closed:
        if not CROSSPOINT.fullmatch(crosspoint):
            raise InstrumentError(f"'{crosspoint}' in '{reply}' is not a crosspoint such as 1A05")
    return closed


class Keithley707BOptions(Model):
    """Options of a 707B or 708B in the bench file."""

    model: Annotated[str, AfterValidator(one_of("keithley707b: model", MODELS))] = Field(
        default="707B", json_schema_extra={"x-form": f"one of {', '.join(MODELS)}"}
    )
    tsplink: int | None = Field(default=None, ge=1, le=64, description="its node number on the TSP-Link cable")


class Keithley707B:
    """A matrix of up to six cards of 8 rows x 12 columns; a crosspoint is slot, row letter, two-digit column.

    Args:
        transport: the wire.
        name: in the bench file.
        model: as the bench file states it.
        permit: raises unless nothing is energised.
    """

    def __init__(
        self, transport: Transport, name: str = "matrix", *, model: str = "707B", permit: Permit = refuse
    ) -> None:
        if model not in MODELS:
            raise BenchError(f"{name}: model '{model}' is not one of {', '.join(MODELS)}")
        self.name, self.permit, self._model = name, permit, model
        self._tsp = Tsp(transport, name)
        self._present: frozenset[str] | None = None
        self._set = False
        self._release: Callable[[], None] | None = None
        self.old_errors: tuple[str, ...] = ()
        """Errors that stood in the queue of the instrument when it was connected."""

    def connect(self) -> str:
        """Read identity and the closed set, and empty the error queue by reading it; set and move nothing.

        Raises:
            BenchError: another model answers, the instrument says more than it was asked, or a scan moves relays there.
        """
        identity = self._tsp.identity([self._model])
        self._refuse_scan()
        self.closed()
        self.old_errors = self._tsp.old_errors()
        return identity.line

    def _refuse_scan(self) -> None:
        """Raise BenchError if relays move by themselves."""
        if self._tsp.numbers(_SCAN, 1) == [_RUNNING]:
            raise BenchError(f"{self.name}: a scan is running there and moves relays by itself; 'labctl off' ends it")

    def cards(self) -> dict[int, str]:
        """Return the identity of the card in each slot, "" for a slot without one.

        [?] `slot[n].idn` is model, shape, firmware and serial number, or "Empty Slot".
        """
        slots = range(1, 1 + SLOTS[self._model])
        asked = ",".join(f"slot[{n}] and slot[{n}].idn" for n in slots)
        *reply, end = self._tsp.text(f'{asked},"end"').split("\t")
        if (len(reply), end) != (len(slots), "end"):
            raise unexpected(self.name, asked, ",".join([*reply, end]), f"{len(slots)} slots")
        cards = {n: identity.strip() for n, identity in zip(slots, reply, strict=True)}
        return {n: "" if card in ("nil", "") or "empty" in card.lower() else card for n, card in cards.items()}

    def unusable(self, crosspoints: Iterable[str]) -> list[str]:
        """Return what of `crosspoints` cannot be closed as it is meant, in operator words; empty if all can.

        Cards may lack them; they may be forbidden to close; and their names may be labels of other channels.
        """
        wanted, cards, lacking = sorted(crosspoints), self.cards(), []
        for slot in sorted({int(crosspoint[0]) for crosspoint in wanted}):
            used = [crosspoint for crosspoint in wanted if int(crosspoint[0]) == slot]
            card, shape = cards.get(slot, ""), _SHAPE.search(cards.get(slot, ""))
            if not card:
                lacking.append(f"slot {slot} has no card, and the wiring uses {_names(used)} of it")
            elif shape is not None:
                rows, columns = int(shape[1]), int(shape[2])
                beyond = [c for c in used if ord(c[1]) - ord("A") >= rows or int(c[2:]) > columns]
                lacking += [f"slot {slot} has '{card}', which lacks {_names(beyond)}"] if beyond else []
            if "pseudo" in card.lower():
                lacking.append(f"slot {slot} has '{card}', a card of no hardware, which closes no relay")
        return lacking or [*self._forbidden(wanted), *self._relabelled(wanted)]

    def _forbidden(self, crosspoints: Iterable[str]) -> list[str]:
        """Return which of `crosspoints` are forbidden to close, in operator words; empty if none is."""
        barred = self._listed(FORBIDDEN, self._tsp.text(FORBIDDEN)).intersection(crosspoints)
        text = f"{_names(barred)} forbidden to close there (channel.setforbidden); channel.clearforbidden lifts that"
        return [text] if barred else []

    def _relabelled(self, crosspoints: Sequence[str]) -> list[str]:
        """Return which of `crosspoints` are names of other channels, in operator words; empty if none is."""
        others = []
        for begin in range(0, len(crosspoints), _AT_ONCE):
            asked = crosspoints[begin : begin + _AT_ONCE]
            images = self._tsp.text(f'channel.getimage("{",".join(asked)}")').split(";")
            if images != asked:
                pairs = zip(asked, images, strict=False)
                which = ", ".join(f"{name} stands for {image}" for name, image in pairs if name != image)
                others.append(f"labels of channels are those of others (channel.setlabel): {which or images}")
        return others

    def diagnosis(self) -> tuple[list[str], list[str]]:
        """Return the cards, settings that are not as they will be set, and old errors; nothing that needs a person."""
        cards = ", ".join(f"{slot}: {card or 'none'}" for slot, card in self.cards().items())
        present = zip(MOVES, self._tsp.numbers(",".join(MOVES), len(MOVES)), strict=True)
        others = [f"{name} {value:.0f}" for name, value in present if value != MOVES[name]]
        if any(delays := self._delays()):
            others.append(f"channel.setdelay, up to {max(delays):.6g} s for {sum(map(bool, delays))} channels")
        state = [f"not as after a reset, and set anew before a relay moves: {', '.join(others)}"] if others else []
        if forbidden := self._listed(FORBIDDEN, self._tsp.text(FORBIDDEN)):
            state.append(f"forbidden to close: {_names(forbidden)}")
        labels = [label for label in re.split("[;,]", self._tsp.text(LABELS)) if not CROSSPOINT.fullmatch(label)]
        if labels and labels != ["nil"]:
            state.append(f"labels of channels: {_names(labels)}")
        if patterns := self._tsp.transport.query(_PATTERNS).split():
            state.append(f"patterns of channels: {_names(patterns)}")
        if steps := self._tsp.numbers("scan.stepcount", 1)[0]:
            state.append(f"a scan of {steps:.0f} steps is stored; it moves no relay unless somebody starts it")
        return [f"cards in slots {cards}", *state, *old_errors_text(self.old_errors)], []

    def _delays(self) -> list[Second]:
        """Return what each channel waits beyond its settling when it closes, s; empty where no card is."""
        reply = self._tsp.text(DELAYS)
        return [] if reply in ("nil", "") else self._tsp.parsed(reply, DELAYS, None)

    def emergency_open(self) -> frozenset[str]:
        """Abort, end a scan, and open every relay by the first bytes of a fresh connection; then verify.

        The caller has verified the sources. The closed set before is saved inside the instrument.

        Returns:
            Crosspoints that were closed before, as far as the instrument reports.

        Raises:
            InstrumentError: it cannot be reached, does not answer, or reports a closed relay.
        """
        self._present = self._release = None
        lines = [f"mtj_met={_CLOSED}", "scan.abort()", 'channel.open("allslots")', "waitcomplete()"]
        reply = self._tsp.cut_in(lines, f'{_CLOSED} or "nil",tostring(mtj_met)')
        if len(reply) != 2 or reply[0] != "nil":
            raise unexpected(self.name, 'channel.open("allslots")', " ".join(reply), "'nil', every relay open")
        self._present = frozenset()
        with contextlib.suppress(InstrumentError):
            self._tsp.errors()  # of the aborted command
        return frozenset(part.strip() for part in reply[1].split(";")) - {"nil", ""}

    def hand_over(self, release: Callable[[], None]) -> None:
        """Prepare for the master of its TSP-Link to move the relays; `release` ends that, and is called before the next
        command from here. Which are closed is read anew then.

        Raises:
            InstrumentError: the permit refuses, or a setting of how relays move is not taken.
        """
        self.permit()
        if not self._set or self._release != release:  # another master has to let it go first
            self._take_back()
            self._settle_moves()
        self._present, self._release = None, release

    def _take_back(self) -> None:
        """Have the node released whose master has moved the relays, if that is so."""
        if self._release is not None:
            self._release()
            self._release = None

    def closed(self) -> frozenset[str]:
        """Read the closed crosspoints."""
        self._take_back()
        self._present = None
        self._present = self._listed(_CLOSED, self._tsp.text(_CLOSED))
        return self._present

    def _listed(self, command: str, reply: str) -> frozenset[str]:
        """Return the crosspoints that a reply lists; InstrumentError if it is no such list."""
        try:
            return parse_closed(reply)
        except InstrumentError as error:
            raise unexpected(self.name, command, reply, "crosspoints such as 1A05") from error

    def route(self, closed: Iterable[str]) -> None:
        """Close exactly `closed`, starting from the set that was last read back.

        Raises:
            BenchError: a crosspoint that the model does not have; nothing has moved.
            InstrumentError: the permit refused, or the closed set that is read back is another; the message names the
                difference.
        """
        wanted = frozenset(closed)
        for crosspoint in sorted(wanted):
            if not CROSSPOINT.fullmatch(crosspoint) or int(crosspoint[0]) > SLOTS[self._model]:
                raise BenchError(f"{self.name}: '{crosspoint}' is not a crosspoint of a {self._model}, such as 1A05")
        present = self.closed() if self._present is None else self._present
        if present == wanted:
            return
        self.permit()
        self._take_back()
        self._present = None
        self._settle_moves()
        after = self._move(sorted(present - wanted), sorted(wanted - present))
        if after != wanted:
            raise InstrumentError(
                f"{self.name}: closed should be {_names(wanted)}; "
                f"missing {_names(wanted - after)}, too many {_names(after - wanted)}. Look at its cards, and whether "
                "another program moves relays"
            )
        self._present = after

    def close(self) -> None:
        """Close the connection; relays stay as they are."""
        self._tsp.transport.close()

    def _settle_moves(self) -> None:
        """Set how relays move, once, and read it back; InstrumentError if it was not taken."""
        if self._set:
            return
        self._tsp.set(" ".join([*(f"{name}={value}" for name, value in MOVES.items()), NO_DELAYS]))
        taken = self._tsp.numbers(",".join(MOVES), len(MOVES))
        for (name, value), present in zip(MOVES.items(), taken, strict=True):
            if present != value:
                raise InstrumentError(
                    f"{self.name}: {name} is {present:.6g} after {value} was set; no relay moves; {CHECK}"
                )
        if any(delays := self._delays()):
            raise InstrumentError(
                f"{self.name}: a channel waits {max(delays):.6g} s after {NO_DELAYS} was set; no relay moves; {CHECK}"
            )
        self._set = True

    def _move(self, opening: Sequence[str], closing: Sequence[str], *, again: bool = True) -> frozenset[str]:
        """Open, then close if that was accepted, each settled; return the closed set that the instrument reports.

        Args:
            again: close once more if warnings alone, which were read meanwhile, kept it from closing.
        """
        body = [COUNTED.strip()]
        if opening:
            body.append(f'channel.open("{",".join(opening)}") waitcomplete()')
        if closing:
            body.append(f'if errorqueue.count==mtj_e then channel.close("{",".join(closing)}") waitcomplete() end')
        one = " ".join(body)
        text = one if len(one) <= LONGEST_CHUNK else "\n".join(body)
        ask = 'print(errorqueue.count,channel.getclose("allslots"))'
        waiting, _, closed = self._tsp.transport.query(f"{text}\n{ask}", wait=Wait.RELAY).strip().partition("\t")
        if reason := self._tsp.failure(waiting):
            raise Refused(f"{self.name} refused a route: {reason}; {CHECK}")
        after = self._listed(_CLOSED, closed)
        if again and self._tsp.parsed(waiting, "print(errorqueue.count)") != [0.0] and not after.issuperset(closing):
            return self._move([], closing, again=False)  # a warning before it kept it from closing
        return after

    def warnings(self) -> list[str]:
        """Return the warnings that the instrument gave since the last call, each once in a session."""
        return self._tsp.warnings()


def _names(crosspoints: Iterable[str]) -> str:
    """Return crosspoints as text, at most eight of them.

    >>> _names([])
    'none'
    """
    names = sorted(crosspoints)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "none"


def _make(name: str, options: Keithley707BOptions, transport: Transport) -> Keithley707B:
    """Return the driver of a Keithley 707B or 708B."""
    return Keithley707B(transport, name, model=options.model)


def _scheme(options: Keithley707BOptions) -> Scheme:
    """Return the spelling of a crosspoint."""
    return scheme(options.model)


DRIVER = Driver(
    DriverKind.MATRIX,
    _make,
    Keithley707BOptions,
    scheme=_scheme,
    emulator="keithley707b",
    dead_socket=5030,
    node=lambda options: options.tsplink,
)
