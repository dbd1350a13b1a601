"""The conversation with the server of a Daffodil board (`labctl.boards.daffodil.service`), as its client has it."""

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

from instruments.transport import CHECK, brief, unexpected
from labctl.boards.daffodil import patterns as packed
from labctl.core.errors import BenchError, InstrumentError, LabError, NotDriven
from labctl.core.transport import Transport, Wait
from labctl.core.units import Second


class LeaseLost(InstrumentError):
    """The board is not this client's, which was silent for too long or has not taken it; nothing was driven."""


class Client:
    """A client of the board.

    Args:
        name: of the board in the bench file.
        wire: to its server.
        lease: silence that the board stands, s.
        set_up: called when the board was taken, to set it up.
    """

    def __init__(self, name: str, wire: Transport, lease: Second, set_up: Callable[[], None]) -> None:
        self._name, self._wire, self._lease, self._set_up = name, wire, lease, set_up
        self._numbers = itertools.count(1)
        self._token: str | None = None
        self._taking = self._is_set_up = False

    def _ask(self, text: str, expected: str, extra: Second = 0.0) -> str:
        """Return what follows `expected` in the answer; the errors of the server by their kind."""
        number, asked = f"#{next(self._numbers)}", text.partition(" ")[0]
        line = self._wire.query(f"{number} {text}", wait=Wait.MEASURE, extra=extra)
        answered, _, answer = line.partition(" ")
        if answered != number:
            if line.startswith("ERROR syntax"):  # of a server that was changed for one of another version
                self._require_version(self._wire.query("*IDN?"))
            raise unexpected(self._name, asked, brief(line), f"an answer to message {number}")
        verb, _, rest = answer.partition(" ")
        if verb == expected:
            return rest
        kind, _, message = rest.partition(": ")
        if verb != "ERROR":
            raise unexpected(self._name, asked, brief(answer), f"'{expected}'")
        if kind == "lease":
            raise LeaseLost(f"{self._name}: '{asked}': {message}; {CHECK}")
        if kind == "safed":
            self._lose()
            raise NotDriven(f"{self._name}: {message}, '{asked}' is refused; look at it: who switched it off, and why")
        error = BenchError if kind in ("version", "refused") else InstrumentError
        raise error(f"{self._name}: '{asked}': {message}; {CHECK}")

    def _object(self, command: str, answer: str) -> dict[str, Any]:
        try:
            return dict(json.loads(answer))
        except (ValueError, TypeError, RecursionError) as error:
            raise unexpected(self._name, command, brief(answer), "JSON") from error

    def identity(self) -> str:
        """Return the identity; BenchError if it is no server of a board, or has another version."""
        identity = self._wire.query("*IDN?")
        fields = identity.split(",")
        if fields[:2] != ["mtj-labctl", "daffodil"] or len(fields) != 4:
            raise BenchError(
                f"{self._name}: '{brief(identity)}' answers '*IDN?'; the server of a Daffodil board was expected; "
                "check that its address is right"
            )
        self._require_version(identity)
        return identity

    def _require_version(self, identity: str) -> None:
        """Raise BenchError if an identity is that of a server of another version; of anything else, nothing."""
        fields = identity.split(",")
        if fields[:2] == ["mtj-labctl", "daffodil"] and len(fields) == 4 and fields[3] != str(packed.VERSION):
            raise BenchError(
                f"{self._name}: the server on the board has version {fields[3]}, this suite {packed.VERSION}, by "
                f"'*IDN?'; copy labctl/boards/daffodil to the board again, start it there, and {CHECK}"
            )

    def state(self) -> dict[str, Any]:
        """Return what the board is: `holder`, `live` lines with their codes, how often it was `silenced`."""
        return self._object("STATE?", self._ask("STATE?", "STATE"))

    def _lose(self) -> None:
        self._token, self._is_set_up = None, False

    def take(self) -> None:
        """Have the board, set up in full, unless it is so; LeaseLost if it is another client's."""
        if self._token is not None and self._is_set_up:
            return
        self._taking = True
        try:
            self._claim()
            self._set_up()
            self._is_set_up = True
        finally:
            self._taking = False

    def _claim(self) -> None:
        """Have the board, set up or not; LeaseLost if it is another client's."""
        claim = {"version": packed.VERSION, "client": f"labctl {self._name}", "lease": self._lease}
        if self._token is None:
            self._token = self._ask(f"TAKE {json.dumps(claim)}", "TAKEN")

    def release(self) -> None:
        """Have no power at the die, verified by the board, and give the board back."""
        self.safe()
        self._claim()
        token = self._token
        self._lose()
        self._ask(f"RELEASE {token}", "RELEASED")
        self._ask(f"END {token}", "ENDED")

    def ours(self, verb: str, body: str, expected: str, extra: Second = 0.0) -> str:
        """Return the answer to a message of the client that has the board.

        A lease that was lost is taken again: the server refused the message before anything was driven.
        """
        try:
            return self._ask(f"{verb} {self._token} {body}", expected, extra)
        except LeaseLost:
            self._lose()
            if self._taking:
                raise
            self.take()
            return self._ask(f"{verb} {self._token} {body}", expected, extra)

    def ours_as_object(self, verb: str, given: Mapping[str, Any], expected: str, extra: Second = 0.0) -> dict[str, Any]:
        """Likewise, of JSON."""
        return self._object(verb, self.ours(verb, json.dumps(given), expected, extra))

    def safe(self) -> None:
        """Have the board at rest, verified by it; it is nobody's then.

        A server of another version is told in the words that all of them understand.
        """
        self._lose()
        try:
            self._ask("SAFE", "SAFE")
        except BenchError:
            if live := self.break_in()[1]:
                raise InstrumentError(
                    f"{self._name} is NOT verified safe: {live}; go there and switch it off"
                ) from None

    def break_in(self) -> tuple[dict[str, int], dict[str, int]]:
        """The same with the first bytes of a fresh connection; return what was not at rest before, and what is not.

        Raises:
            InstrumentError: it cannot be reached, or says nothing that is understood.
        """
        self._lose()
        lines = self._wire.cut_in("SAFE", "STATE?", lambda line: line.startswith("STATE "))
        try:
            (met,) = [json.loads(line[5:])["met"] for line in lines if line.startswith("SAFE ")]
            return met, json.loads(lines[-1][6:])["live"]
        except (ValueError, KeyError) as error:
            wrong = [line for line in lines if line.startswith("ERROR")]
            words = f"{self._name} is NOT verified safe: {'; '.join(wrong) or lines}"
            raise InstrumentError(f"{words}; go there and switch it off") from error

    def close(self, give_back: bool) -> None:
        """End the conversation; with `give_back` the board is at rest and free at once, else when the lease ends."""
        token = self._token
        self._lose()
        try:
            if token is not None and give_back:
                self._ask(f"END {token}", "ENDED")
        except LabError:
            pass  # the lease ends by itself, and the board is safe then
        finally:
            self._wire.close()
