"""Messages of the generic instruments: one line of JSON each way.

A generic instrument stands in for one that has no emulator of its own, so it has a language of its own: a message is
`{"do": VERB, "id": NUMBER, ...}`, its reply `{"id": NUMBER, "reply": ...}` or `{"id": NUMBER, "refused": TEXT}`.
"""

import itertools
import json
from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from instruments.transport import CHECK, brief, unexpected
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.transport import Transport, Wait
from labctl.core.units import Second

T = TypeVar("T")

MAKER = "mtj-labctl"
"""First field of the identity of every generic instrument; the second is its kind."""


class JsonLines:
    """The conversation of a driver with a generic instrument.

    Args:
        transport: the wire.
        name: of the instrument in the bench file.
    """

    def __init__(self, transport: Transport, name: str) -> None:
        self._transport, self._name = transport, name
        self._numbers = itertools.count(1)

    def identity(self, kind: str) -> str:
        """Return the identity; BenchError if it is not that of a generic instrument of this kind."""
        line = self._transport.query("*IDN?").strip()
        if line.split(",")[:2] != [MAKER, kind]:
            raise BenchError(
                f"{self._name}: '{line}' answers where a generic {kind} was expected, which is emulated only; "
                "check its address in the bench file"
            )
        return line

    def ask(self, verb: str, form: type[T], *, wait: Wait = Wait.QUERY, extra: Second = 0.0, **fields: Any) -> T:
        """Send a message and return its reply.

        Args:
            form: type that the reply has to have; a dataclass from an object with its fields.

        Raises:
            InstrumentError: it is refused, another message is answered, or the answer has another form.
        """
        number, text = self._message(verb, fields)
        return self._reply(number, text, self._transport.query(text, wait=wait, extra=extra), form)

    def cut_in(self, verb: str, then: str, form: type[T]) -> T:
        """Send a message as the first bytes of a fresh connection, then another one; return the reply of that."""
        _, first = self._message(verb, {})
        number, second = self._message(then, {})
        lines = self._transport.cut_in(first, second, lambda line: f'"id": {number},' in line)
        return self._reply(number, second, lines[-1], form)

    def close(self) -> None:
        """End the conversation."""
        self._transport.close()

    def _message(self, verb: str, fields: dict[str, Any]) -> tuple[int, str]:
        number = next(self._numbers)
        return number, json.dumps({"do": verb, "id": number, **fields}, allow_nan=False)

    def _reply(self, number: int, message: str, line: str, form: type[T]) -> T:
        try:
            reply = json.loads(line)
        except ValueError as error:
            raise unexpected(self._name, message, line[:60], "a line of JSON") from error
        if not isinstance(reply, dict) or reply.get("id") != number:
            raise unexpected(self._name, message, line[:60], f"an answer to message {number}")
        if "refused" in reply:
            raise InstrumentError(f"{self._name} refused '{brief(message)}': {reply['refused']}; {CHECK}")
        adapter = _adapter(cast(Hashable, form))
        try:
            answer: T = adapter.validate_python(reply.get("reply"))
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            what = f"{error.errors()[0]['msg']}{f' at {where}' if where else ''}"
            raise unexpected(self._name, message, line[:60], f"an answer to it: {what}") from error
        return answer


@cache
def _adapter(form: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, form))
