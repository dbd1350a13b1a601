"""What a source or a matrix needs of the object of another library: roles, each of one statement or some."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, Field

from instruments.adapter.statements import Statement
from instruments.transport import CHECK, unexpected
from labctl.core.errors import InstrumentError
from labctl.core.model import Model

FUNCTIONS = ("query", "send", "number", "int", "str")
"""Functions that every statement may use: a question and a command of ours over the same wire, and conversions."""


def _lines(value: Any) -> Any:
    """Return one text as a list of one."""
    return (value,) if isinstance(value, str) else value


def _parsed(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return statements; ValueError if one is none."""
    for line in lines:
        Statement(line)
    return lines


Lines = Annotated[tuple[str, ...], BeforeValidator(_lines), AfterValidator(_parsed)]
"""Statements, carried out in order; the value of the last one is that of the role."""


class Roles(Model):
    """Statements by role; a role that is left out is that of the ready map."""

    needed: ClassVar[tuple[str, ...]] = ()
    """Roles without which there is no driver."""
    read_back: ClassVar[tuple[str, ...]] = ()
    """Roles that are needed where no driver of ours reads back."""

    def over(self, ready: Self | None) -> Self:
        """Return these roles, and those of a ready map where there is none."""
        if ready is None:
            return self
        own = {name: value for name in self.model_fields_set if (value := getattr(self, name)) != ()}
        return ready.model_copy(update=own)

    def lacking(self, *, reads_back: bool) -> list[str]:
        """Return the roles that are needed and have no statement.

        Args:
            reads_back: a driver of ours reads back.
        """
        names = self.needed if reads_back else self.needed + self.read_back
        return [name for name in names if not getattr(self, name)]

    def uses(self, role: str, name: str) -> bool:
        """Return whether the statements of a role use a variable."""
        return any(name in Statement(line).names for line in getattr(self, role))


class SourceRoles(Roles):
    """Roles of a source.

    Variables are: volts, amps, range_v, range_i, seconds, cycles, off_state, remote_sense, terminals, channel, device,
    which is the whole object, and reading, which is the value of `measure`.
    """

    needed = ("set_up", "level", "limit", "output_on", "output_off", "aperture", "current", "voltage", "limited")
    read_back = ("is_on", "is_level", "is_limit")

    set_up: Lines = Field(default=(), description="make it force volts, range_v fixed, off_state and remote_sense set")
    level: Lines = Field(default=(), description="set the level to volts")
    limit: Lines = Field(default=(), description="set the current limit to amps, and the fixed measure range range_i")
    limit_down: Lines = Field(default=(), description="the same where the measure range becomes a lower one")
    output_on: Lines = Field(default=(), description="switch the output on")
    output_off: Lines = Field(default=(), description="switch the output off")
    aperture: Lines = Field(default=(), description="set the integration time to seconds, or to cycles of the mains")
    mains: Lines = Field(default=("50",), description="mains frequency, Hz, for cycles")
    measure: Lines = Field(default=(), description="take a reading; its value is reading")
    current: Lines = Field(default=(), description="current, A, positive out of the source")
    voltage: Lines = Field(default=(), description="measured voltage, V")
    limited: Lines = Field(default=(), description="true while the output is at its current limit")
    is_on: Lines = Field(default=(), description="read back: the output is on")
    is_level: Lines = Field(default=(), description="read back: the level, V")
    is_limit: Lines = Field(default=(), description="read back: the current limit, A")
    identity: Lines = Field(default=('query("*IDN?")',), description="the identity")
    error: Lines = Field(default=(), description="next entry of the error queue, which begins with 0 if it is empty")
    expect: Lines = Field(default=(), description="conditions that are true after set_up")
    expect_limit: Lines = Field(default=(), description="conditions that are true after limit, beside the limit")
    expect_aperture: Lines = Field(default=(), description="conditions that are true after aperture")


class MatrixRoles(Roles):
    """Roles of a matrix.

    Variables are: row and column as the bench file spells them, and items, crosspoints as `crosspoint` makes them.
    """

    needed = ("crosspoint", "close", "open", "closed")
    read_back = ()

    crosspoint: Lines = Field(default=(), description="a crosspoint of row and column, as `closed` returns it")
    close: Lines = Field(default=(), description="close items, a list of crosspoints")
    open: Lines = Field(default=(), description="open items")
    closed: Lines = Field(default=(), description="read back: the crosspoints that are closed")
    prepare: Lines = Field(default=(), description="set what changes how relays move, before the first route")
    identity: Lines = Field(default=('query("*IDN?")',), description="the identity")
    error: Lines = Field(default=(), description="next entry of the error queue, which begins with 0 if it is empty")
    expect: Lines = Field(default=(), description="conditions that are true after prepare")


def unknown_names(lines: Collection[str], known: Collection[str], members: Collection[str] | None) -> list[str]:
    """Return the names of statements that are neither variables nor functions, nor attributes of the object.

    Args:
        known: variables and functions.
        members: attributes of the object; None if they are not known.
    """
    if members is None:
        return []
    statements = [Statement(line) for line in lines]
    names = {name for statement in statements for name in statement.names} - set(known)
    return sorted((names | {statement.sets for statement in statements} - {""}) - set(members))


def number(value: Any) -> float:
    """Return what an object or an instrument gave as a number; ValueError if it is none.

    >>> number("+1.5E-3\\n"), number(True)
    (0.0015, 1.0)
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is no number") from None


def no_error(where: str, text: str, question: str, reply: str) -> None:
    """Raise InstrumentError if the reply of an error queue is an entry and not 0, which stands for none.

    Args:
        where: instrument and channel.
        text: what was set before.
        question: that was answered.
    """
    if not is_empty(where, question, reply):
        raise InstrumentError(f"{where} refused '{text}': {reply}; {CHECK}")


def is_empty(where: str, question: str, reply: str) -> bool:
    """Return whether the reply of an error queue is 0, which stands for none; InstrumentError if it is no entry."""
    try:
        return float(reply.replace("\t", ",").split(",")[0]) == 0
    except ValueError as error:
        raise unexpected(where, question, reply, "the number of an error") from error


def truth(value: Any) -> bool:
    """Return whether a switch is on, from what objects and instruments give; ValueError for anything else.

    >>> truth("1"), truth("OFF"), truth(0.0), truth(True)
    (True, False, False, True)
    """
    words: Mapping[Any, bool] = {"1": True, "0": False, "on": True, "off": False, "true": True, "false": False}
    text = value.strip().lower() if isinstance(value, str) else value
    if isinstance(text, str) and text in words:
        return words[text]
    try:
        state = float(text)
    except (TypeError, ValueError):
        state = -1.0
    if state not in (0.0, 1.0):
        raise ValueError(f"{value!r} is neither on nor off")
    return state == 1.0
