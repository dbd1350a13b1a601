"""A matrix of PyMeasure or QCoDeS behind our interface: its object moves relays, and the closed set is read back.

Verified against: QCoDeS 0.58.0's driver of the Keysight B2200 over the commands that it sends, which a test answers;
on no real instrument, and on no emulated one of this project.

No relay moves before a permit has verified that nothing is energised, relays open before others close, each in a call
of its own, and the closed set is read back after both.
"""

import contextlib
from collections.abc import Iterable
from functools import partial
from typing import Any

from instruments.adapter.objects import ForeignObject
from instruments.adapter.options import MatrixOptions, PyMeasureMatrixOptions, QCoDeSMatrixOptions
from instruments.adapter.roles import no_error, number
from instruments.adapter.statements import Statement
from instruments.identity import fields_of
from instruments.transport import CHECK
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import BenchError, InstrumentError, LabError
from labctl.core.switch_matrix import Permit, Scheme, refuse
from labctl.core.transport import Transport, Wait

Item = Any
"""A crosspoint as the object has it: a text, or a tuple."""


def spelled(item: Item) -> str:
    """Return the name of a crosspoint in this suite.

    >>> spelled((3, 12)), spelled("1A05")
    ('3/12', '1A05')
    """
    return "/".join(map(str, item)) if isinstance(item, tuple) else str(item)


def item_of(crosspoint: str) -> Item:
    """Return the crosspoint of a name as the object has it.

    >>> item_of("3/12"), item_of("1A05")
    ((3, 12), '1A05')
    """
    if "/" not in crosspoint:
        return crosspoint
    return tuple(int(part) if part.isdigit() else part for part in crosspoint.split("/"))


def scheme(options: MatrixOptions) -> Scheme:
    """Return the spelling of crosspoints: the role `crosspoint`, of rows and columns that there are."""
    rows, columns = options.places
    (line,) = options.merged.crosspoint
    statement = Statement(line)

    def crosspoint(row: str, column: str) -> str:
        for what, place, places in (("row", row, rows), ("column", column, columns)):
            if places and place not in places:
                raise ValueError(f"'{place}' is not a {what}; there are {places[0]} to {places[-1]}")
        return spelled(statement.carry_out({"row": row, "column": column, "int": int, "str": str}, None))

    return crosspoint


class AdaptedMatrix:
    """A matrix whose relays an object of another library moves.

    Args:
        name: in the bench file.
        options: from the bench file.
        transport: the wire.
        permit: raises unless nothing is energised.
    """

    def __init__(self, name: str, options: MatrixOptions, transport: Transport, permit: Permit = refuse) -> None:
        self.name, self.permit = name, permit
        self._options, self._roles, self._transport = options, options.merged, transport
        self._object = ForeignObject(name, options.library, options.class_, transport, options.longest_call)
        self._prepared = False

    def _carry_out(self, role: str, **variables: Any) -> Any:
        """Carry out the statements of a role; return the value of the last one."""
        value: Any = None
        for line in getattr(self._roles, role):
            statement, scope = Statement(line), {**variables, **self._functions}
            if statement.needs(scope):
                act = partial(_on, statement, scope)
                value = self._object.call(act, f"{role}: {line}")
            else:
                value = self._object.without(partial(statement.carry_out, scope, None), f"{role}: {line}")
        return value

    @property
    def _functions(self) -> dict[str, Any]:
        return {"query": self._query, "send": self._transport.write, "number": number, "int": int, "str": str}

    def _query(self, text: str) -> str:
        return self._transport.query(text, wait=Wait.QUERY).strip()

    def _move(self, role: str, crosspoints: Iterable[str]) -> None:
        """Open or close crosspoints, and read the error queue."""
        if items := [item_of(crosspoint) for crosspoint in sorted(crosspoints)]:
            self._carry_out(role, items=items)
            self._transport.let_pass(self._options.settle)
            self._no_error(role)

    def _no_error(self, text: str) -> None:
        if self._roles.error:
            no_error(self.name, text, self._roles.error[-1], str(self._carry_out("error")))

    def connect(self) -> str:
        """Read identity and the closed set, change nothing."""
        identity = str(self._carry_out("identity")).strip()
        model = self._options.model
        if model and fields_of(identity, model).model.upper() != model.upper():
            raise BenchError(f"{self.name}: '{identity}' answers, and the bench file says {model}; check its address")
        self.closed()
        return identity

    def closed(self) -> frozenset[str]:
        """Read the closed crosspoints."""
        items = self._carry_out("closed")
        try:
            return frozenset(spelled(item) for item in items or ())
        except TypeError as error:
            raise InstrumentError(f"{self.name}: {items!r} is no collection of crosspoints") from error

    def route(self, closed: Iterable[str]) -> None:
        """Close exactly `closed`: break, then make, then read back; nothing moves if it is so already.

        Raises:
            InstrumentError: the permit refused, it has no such relay, or the closed set that is read back is another.
        """
        wanted = frozenset(closed)
        for crosspoint in wanted:
            self._require(crosspoint)
        present = self.closed()
        if present == wanted:
            return
        self.permit()
        if not self._prepared:
            self._carry_out("prepare")
            self._no_error("prepare")
            for line in self._roles.expect:
                if self._object.call(partial(_on, Statement(line), self._functions), f"expect: {line}") is not True:
                    raise InstrumentError(f"{self.name}: '{line}' is not true; no relay moved; {CHECK}")
            self._prepared = True
        self._move("open", present - wanted)
        if self.closed() - wanted:
            raise InstrumentError(
                f"{self.name}: relays that were opened are closed; none was closed after them; {CHECK}"
            )
        self._move("close", wanted - present)
        after = self.closed()
        if after != wanted:
            raise InstrumentError(f"{self.name}: {sorted(after)} are closed; {sorted(wanted)} were expected; {CHECK}")

    def _require(self, crosspoint: str) -> None:
        """Raise InstrumentError if the matrix has no such crosspoint."""
        item, places = item_of(crosspoint), self._options.places
        parts = tuple(map(str, item)) if isinstance(item, tuple) else ()
        shape = len(parts) == 2 and all(not p or part in p for part, p in zip(parts, places, strict=True))
        if any(places) and not shape:
            raise InstrumentError(f"{self.name} has no crosspoint '{crosspoint}'; nothing moved")

    def emergency_open(self) -> frozenset[str]:
        """Open every relay by the first bytes of a fresh connection, without the object; then verify.

        Through the object where nothing is known that does without. Returns the crosspoints that were closed, as far
        as that was asked.
        """
        words = self._options.without_object
        if words is None:
            before = self.closed()
            permit, self.permit = self.permit, lambda: None
            try:
                self.route(())
            finally:
                self.permit = permit
            return before
        reply = self._transport.cut_in("\n".join(words.send), words.ask, lambda line: True)[-1]
        if any(letter.isdigit() for letter in reply):
            raise InstrumentError(f"{self.name}: relays are still closed: '{reply}'; {CHECK}")
        return frozenset()

    def close(self) -> None:
        """Let go of the object and close the connection; relays stay as they are."""
        with contextlib.suppress(LabError):
            self._object.close()
        self._transport.close()


def _on(statement: Statement, scope: dict[str, Any], made: Any) -> Any:
    """Carry out a statement on an object."""
    return statement.carry_out({**scope, "device": made}, made)


def _make_pymeasure(name: str, options: PyMeasureMatrixOptions, transport: Transport) -> AdaptedMatrix:
    """Return a matrix of PyMeasure."""
    return AdaptedMatrix(name, options, transport)


def _make_qcodes(name: str, options: QCoDeSMatrixOptions, transport: Transport) -> AdaptedMatrix:
    """Return a matrix of QCoDeS."""
    return AdaptedMatrix(name, options, transport)


PYMEASURE = Driver(DriverKind.MATRIX, _make_pymeasure, PyMeasureMatrixOptions, scheme=scheme)
QCODES = Driver(DriverKind.MATRIX, _make_qcodes, QCoDeSMatrixOptions, scheme=scheme)
