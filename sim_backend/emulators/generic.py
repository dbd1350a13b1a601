"""Generic instruments, which stand in for those without an emulator: their messages, and one kind of instrument each.

A message is a line of JSON, `{"do": VERB, "id": NUMBER, ...}`; its reply is `{"id": NUMBER, "reply": ...}`, or has a
reason under `refused`. Whatever is refused changes nothing.
"""

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping
from inspect import signature
from random import Random
from typing import Any

from sim_backend.emulators.leftovers import TRIES, Leave
from sim_backend.emulators.link import Instrument
from sim_backend.emulators.world import World

Draw = Callable[[Random], Any]
"""From chance to a value that an argument of a verb may have."""


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

    def left_by_verbs(self, asking: tuple[str, ...], draws: Mapping[str, Draw]) -> dict[str, Leave]:
        """Return how each verb is left to have been carried out, but those that only ask.

        Args:
            asking: verbs that only ask; together they tell the whole state.
            draws: of each argument of a verb; KeyError for one that has none.
        """

        def carried_out(verb: str) -> Leave:
            arguments = {name: draws[name] for name in signature(self.verbs()[verb]).parameters}

            def leave(rng: Random) -> str | None:
                for _ in range(TRIES):
                    given = {name: draw(rng) for name, draw in arguments.items()}
                    before = self._answers(asking)
                    try:
                        self.verbs()[verb](**given)
                    except Refused:
                        continue
                    if self._answers(asking) != before:
                        return ", ".join(map(str, given.values())) or verb
                return None

            return leave

        return {verb: carried_out(verb) for verb in self.verbs() if verb not in asking}

    def _answers(self, asking: tuple[str, ...]) -> list[Any]:
        return [self.verbs()[verb]() for verb in asking]

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
