"""Generic instruments, which stand in for those without an emulator: their messages, and one kind of instrument each.

A message is a line of JSON, `{"do": VERB, "id": NUMBER, ...}`; its reply is `{"id": NUMBER, "reply": ...}`, or has a
reason under `refused`. Whatever is refused changes nothing.
"""

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from sim_backend.emulators.link import Instrument
from sim_backend.emulators.world import World


class Refused(Exception):
    """The instrument refuses a message: the reason."""


class GenericInstrument(Instrument):
    """An instrument that is told in lines of JSON what to do.

    Args:
        kind: source, matrix or prober; in its identity.
        stands_for: the driver in whose place it is; in its identity.
    """

    def __init__(self, name: str, kind: str, world: World, *, stands_for: str = "", model: str = "generic") -> None:
        super().__init__(name, model, world)
        self.kind, self.stands_for = kind, stands_for

    @abstractmethod
    def verbs(self) -> Mapping[str, Callable[..., Any]]:
        """Return the function of each verb; it is called with the other fields of the message."""

    def execute(self, message: str) -> str:
        """Execute one line."""
        line = message.strip()
        if not line:
            return ""
        if line.upper() == "*IDN?":
            whose = f"stands in for {self.stands_for}" if self.stands_for else self.model
            return f"mtj-labctl,{self.kind},{whose},1\n"
        number = None
        try:
            fields = json.loads(line)
            if not isinstance(fields, dict):
                raise Refused("a message is a mapping")
            number, verb = fields.pop("id", None), fields.pop("do", None)
            if verb not in self.verbs():
                raise Refused(f"the verb is {verb!r}; expected one of {', '.join(self.verbs())}")
            reply = self.verbs()[verb](**fields)
        except (Refused, ValueError, TypeError, KeyError) as error:
            self.refuse(f"{error} ({line[:60]})")
            return json.dumps({"id": number, "refused": str(error)}) + "\n"
        return json.dumps({"id": number, "reply": reply}) + "\n"

    def ends_busy(self, line: bytes) -> bool:
        """Return whether a message is the emergency's."""
        return b'"do": "abort"' in line or b'"do": "open"' in line
