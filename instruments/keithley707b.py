"""Keithley 707B and 708B switch matrices. Written from public manual facts; not verified on a real instrument.

Verified against: transcripts of the manual's facts, and the emulated 707B of this project.

Relays that switch under voltage weld. So nothing moves before a guard has said that nothing is energised; what must
open opens in one command before what must close closes in the next (the instrument's own connect rule does not govern
these), and only if the first was taken; and what is closed is read back, not believed. The instrument does all of it in
one round trip: a night has hundreds of thousands of routes.
"""

import contextlib
import re
from collections.abc import Iterable, Sequence

from instruments.tsp import LONGEST_CHUNK, Refused, Tsp, parse_numbers
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.switch_matrix import Guard
from labctl.core.transport import Transport, Wait

MODELS = ("707B", "708B")
SLOTS = {"707B": 6, "708B": 1}
_CLOSED = 'channel.getclose("allslots")'
_CROSSPOINT = re.compile(r"[1-6][A-H](0[1-9]|1[0-2])")


def refuse() -> None:
    """Guard of a matrix that nobody has told how to find out whether the bench is cold."""
    raise InstrumentError("no relay moves before somebody vouches that nothing is energised")


def parse_closed(reply: str) -> frozenset[str]:
    """Return the crosspoints in the answer of ``channel.getclose``.

    >>> sorted(parse_closed("1A01;2B12"))
    ['1A01', '2B12']
    >>> parse_closed("nil")
    frozenset()
    """
    if reply.strip() in ("nil", ""):
        return frozenset()
    found = frozenset(part.strip() for part in reply.split(";"))
    for crosspoint in found:
        if not _CROSSPOINT.fullmatch(crosspoint):
            raise InstrumentError(f"'{crosspoint}' in '{reply}' is not a crosspoint such as 1A05")
    return found


class Keithley707B:
    """A matrix of up to six cards of 8 rows x 12 columns; a crosspoint is slot, row letter, two-digit column.

    Args:
        transport: the wire.
        name: in the bench file.
        model: as the bench file states it.
        guard: raises unless nothing is energised.
    """

    def __init__(
        self, transport: Transport, name: str = "matrix", *, model: str = "707B", guard: Guard = refuse
    ) -> None:
        if model not in MODELS:
            raise BenchError(f"{name}: model '{model}' is not one of {', '.join(MODELS)}")
        self.name, self.guard, self._model = name, guard, model
        self._tsp = Tsp(transport, name)
        self._present: frozenset[str] | None = None

    def connect(self) -> str:
        """Read identity and the closed set, change nothing; BenchError if another model answers."""
        identity = self._tsp.identity([self._model])
        self.closed()
        return identity.line

    def emergency_open(self) -> frozenset[str]:
        """End whatever runs and open every relay by the first bytes of a fresh connection; then verify it.

        The caller vouches for the sources. What was closed is noted inside the instrument just before.

        Returns:
            Crosspoints that were closed before, as far as the instrument tells.

        Raises:
            InstrumentError: it cannot be reached, does not answer, or says that something is still closed.
        """
        self._present = None
        lines = [f"mtj_met={_CLOSED}", 'channel.open("allslots")', "waitcomplete()"]
        reply = self._tsp.cut_in(lines, f'{_CLOSED} or "nil",tostring(mtj_met)')
        if len(reply) != 2 or reply[0] != "nil":
            raise InstrumentError(f"{self.name}: '{' '.join(reply)}' answers where 'nil' says that every relay is open")
        self._present = frozenset()
        with contextlib.suppress(InstrumentError):
            self._tsp.errors()  # of what was ended
        return frozenset(part.strip() for part in reply[1].split(";")) - {"nil", ""}

    def closed(self) -> frozenset[str]:
        """Return the crosspoints that the instrument says are closed."""
        self._present = None
        self._present = parse_closed(self._tsp.text('channel.getclose("allslots")'))
        return self._present

    def route(self, closed: Iterable[str]) -> None:
        """Make exactly `closed` closed, starting from what was last read back.

        Raises:
            BenchError: a crosspoint that the model does not have; nothing has moved.
            InstrumentError: the guard refused, or the closed set that is read back is another; whether anything
                moved is then said in the message.
        """
        wanted = frozenset(closed)
        for crosspoint in sorted(wanted):
            if not _CROSSPOINT.fullmatch(crosspoint) or int(crosspoint[0]) > SLOTS[self._model]:
                raise BenchError(f"{self.name}: '{crosspoint}' is not a crosspoint of a {self._model}, such as 1A05")
        present = self.closed() if self._present is None else self._present
        if present == wanted:
            return
        self.guard()
        self._present = None
        found = self._move(sorted(present - wanted), sorted(wanted - present))
        if found != wanted:
            raise InstrumentError(
                f"{self.name}: closed should be {_names(wanted)}; "
                f"missing {_names(wanted - found)}, too many {_names(found - wanted)}"
            )
        self._present = found

    def close(self) -> None:
        """End the conversation; relays stay as they are."""
        self._tsp.transport.close()

    def _move(self, opening: Sequence[str], closing: Sequence[str]) -> frozenset[str]:
        """Open, then close if that was taken, each settled; return what the instrument says is closed then."""
        body = [f'channel.open("{",".join(opening)}") waitcomplete()'] if opening else []
        if closing:
            body.append(f'if errorqueue.count==0 then channel.close("{",".join(closing)}") waitcomplete() end')
        one = " ".join(body)
        text = one if len(one) <= LONGEST_CHUNK else "\n".join(body)
        ask = 'print(errorqueue.count,channel.getclose("allslots"))'
        waiting, _, found = self._tsp.transport.query(f"{text}\n{ask}", wait=Wait.RELAY).strip().partition("\t")
        if parse_numbers(waiting) != [0.0]:
            raise Refused(f"{self.name} refused a route: {'; '.join(self._tsp.errors()) or waiting}")
        return parse_closed(found)


def _names(crosspoints: Iterable[str]) -> str:
    """Return crosspoints as text, at most eight of them.

    >>> _names([])
    'none'
    """
    found = sorted(crosspoints)
    return ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "") if found else "none"
