"""The conversation with a board: one line of text asks, one answers.

    *IDN?                    identity; its last field is the version of the conversation
    STATE?                   STATE {"holder": ..., "live": {"row3": 2100}, "silenced": ...}
    SAFE                     SAFE {"met": {...}}: at rest, verified, whoever asks and whatever runs; ends the lease
    TAKE {...}               TAKEN token; "version", "client" and "lease", the seconds of silence that it stands
    SET token {...}          SET {...}: settings, as `settings.Settings` names them; read back
    RUN token PATTERNS       CODES ...: codes as 16-bit words, then the numbers of late patterns
    WRITE token {...}        ATTEMPTS {...}: a write-verify, see `write_verify`
    RELEASE token            RELEASED: no power at the chip, which can be taken out; SET brings it back
    END token                ENDED: at rest, and free for another client
    anything wrong           ERROR kind: text; of the kinds version, lease, safed, refused, aborted, fault, syntax

A line may have a number in front, `#17 STATE?`, and then its answer has the same: a client tells by it that no answer
to an older line has come.

One client has the board. When nothing was heard of it for the time of its lease, the board makes itself safe and is
free. A batch whose events take longer than the lease is refused; one that outlasts it all the same is ended.

`lease` is the answer to a client that fell silent, and may take the board again; `safed` to one under whose hands
somebody had it made safe, and who must not go on as if nothing had been.
"""

import json
import struct
import threading
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from . import patterns
from .engine import Aborted, Engine, Refused
from .patterns import Pattern
from .proof import Fault
from .settings import Settings
from .write_verify import WriteVerify

LONGEST_LEASE = 60.0
"""Seconds."""


class Rejected(Exception):
    """A message that is answered with an error; its kind and text."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")


class Service:
    """The conversation, for messages of any number of connections.

    Args:
        engine: the board, initialised.
        serial: of the board.
        now: returns seconds that only grow.
        session: differs from one start of the server to the next.
    """

    def __init__(self, engine: Engine, serial: str, now: Callable[[], float], session: str = "") -> None:
        self._engine, self._serial, self._now, self._session = engine, serial, now, session
        self._lock, self._stops_lock = threading.Lock(), threading.Lock()
        self._stops = 0
        """Threads that have what runs end, and wait for their turn."""
        self._ended = False
        self._taken = 0
        self._token: Optional[str] = None
        self._client, self._lease, self._heard = "", 0.0, 0.0
        self._silenced = 0
        """How often a client fell silent."""
        self._safed: Set[str] = set()
        """Tokens of clients that had the board when somebody had it made safe."""

    @property
    def lease(self) -> float:
        """Seconds of silence that the board stands of the client that has it; 0 if nobody has."""
        return self._lease if self._token is not None else 0.0

    def handle(self, line: str) -> str:
        """Return the answer to a line, both without their end."""
        number, message = numbered(line.strip())
        return number + self.answer_to(message)

    def answer_to(self, message: str) -> str:
        """Return the answer to a message without a number."""
        verb, _, rest = message.partition(" ")
        if verb == "SAFE":
            with self._stopped():
                return self._answer_of(self._safe)

        def act() -> str:
            self._tick()
            return self._answer(verb, rest)

        with self._lock:
            return self._answer_of(act)

    def end(self) -> str:
        """Make the board safe for good: nobody can take it any more; return the answer to `SAFE`."""
        self._ended = True
        return self.handle("SAFE")

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        """Have the lock, and until it is had what runs ends and nothing else begins."""
        with self._stops_lock:
            self._stops += 1
            self._engine.abort = True
        try:
            with self._lock:
                yield
        finally:
            with self._stops_lock:
                self._stops -= 1
                self._engine.abort = self._stops > 0

    def _answer_of(self, act: Callable[[], str]) -> str:
        """Return the answer of an action, or to the error that it ends with."""
        try:
            return act()
        except Rejected as error:
            return f"ERROR {error}"
        except Refused as error:
            return f"ERROR refused: {error}"
        except Aborted as error:
            return f"ERROR aborted: {error}"
        except (Fault, OSError) as error:
            return f"ERROR fault: {error}; {self._after_a_fault()}"
        except Exception as error:  # such as a driver of Linux that gives no number
            return f"ERROR fault: {type(error).__name__}: {error}; {self._after_a_fault()}"

    def watch(self) -> None:
        """Make the board safe if its client is silent; for a thread that calls it again and again.

        A batch that runs when the lease ends is ended first.
        """
        if self._overdue():
            with self._stopped():
                try:
                    self._tick()
                except Exception:  # whoever asks for the state sees what is not at rest
                    self._after_a_fault()

    def _tick(self) -> None:
        """End a lease that has run out."""
        if self._overdue():
            self._silenced += 1
            self._free()

    def _after_a_fault(self) -> str:
        """Try once more to have the board at rest; return in words whether it is."""
        self._token, self._client = None, ""
        try:
            self._engine.safe()
        except Exception as error:
            return f"the board is NOT verified at rest: {error}"
        return "the board is at rest, verified"

    def _overdue(self) -> bool:
        return self._token is not None and self._now() > self._heard + self._lease

    def _free(self) -> Dict[str, int]:
        """Have the board at rest and without a client; return what was not at rest."""
        self._token, self._client = None, ""
        met = self._engine.state()
        self._engine.safe()
        return met

    def _safe(self) -> str:
        if self._token is not None:
            self._safed.add(self._token)
        return "SAFE " + json.dumps({"met": self._free()})

    def _answer(self, verb: str, rest: str) -> str:
        if verb == "*IDN?":
            return f"mtj-labctl,daffodil,{self._serial},{patterns.VERSION}"
        if verb == "STATE?":
            live = self._engine.state()
            return "STATE " + json.dumps({"holder": self._client, "live": live, "silenced": self._silenced})
        if verb == "TAKE":
            return self._take(_object(rest))
        if verb not in ("SET", "RUN", "WRITE", "RELEASE", "END"):
            raise Rejected("syntax", f"'{verb[:40]}' is not known")
        token, _, rest = rest.partition(" ")
        if token in self._safed:
            raise Rejected("safed", "somebody had the board made safe while it was yours; nothing was driven since")
        if token != self._token:
            holder = f"another client, '{self._client}', has it" if self._token else "nobody has it"
            raise Rejected("lease", f"the board is not yours: {holder}")
        self._heard = self._now()
        try:
            return self._of_client(verb, rest)
        finally:
            self._heard = self._now()

    def _take(self, given: Dict[str, Any]) -> str:
        if given.get("version") != patterns.VERSION:
            theirs = given.get("version")
            raise Rejected("version", f"the board speaks {patterns.VERSION}, the client {theirs!r}")
        if self._ended:
            raise Rejected("refused", "the server ends")
        if self._token is not None:
            raise Rejected("lease", f"client '{self._client}' has the board")
        lease = given.get("lease")
        if isinstance(lease, bool) or not isinstance(lease, (int, float)) or not 0.0 < lease <= LONGEST_LEASE:
            raise Rejected("refused", f"a lease of {lease!r}; expected at most {LONGEST_LEASE:g} seconds")
        self._taken += 1
        self._token = f"{self._session}{self._taken}"
        self._client, self._lease, self._heard = str(given.get("client", ""))[:100], float(lease), self._now()
        return f"TAKEN {self._token}"

    def _of_client(self, verb: str, rest: str) -> str:
        engine = self._engine
        if verb == "END":
            self._free()
            return "ENDED"
        if verb == "RELEASE":
            engine.release()
            return "RELEASED"
        if verb == "SET":
            engine.set_up(_settings(_object(rest), engine.settings))
            return "SET " + json.dumps(engine.settings._asdict())
        if engine.released:
            raise Rejected("refused", "the chip is without power; set the board up")
        if verb == "RUN":
            try:
                batch = self._patterns(rest)
            except ValueError as error:
                raise Rejected("syntax", str(error)) from error
            self._short_enough(engine.seconds(batch))
            codes, late = engine.run(batch)
            words = struct.pack(f"<{len(codes) + len(late) + 1}H", *codes, *late, len(late))
            return "CODES " + patterns.pack(words)
        program = WriteVerify.of(_object(rest), self._patterns)
        self._short_enough(program.longest(engine))
        return "ATTEMPTS " + json.dumps(program.run(engine))

    def _patterns(self, text: str) -> Sequence[Pattern]:
        """Return the patterns of a text; ValueError if it has none."""
        return patterns.patterns_of(text)

    def _short_enough(self, seconds: float) -> None:
        if seconds > self._lease:
            raise Rejected("refused", f"a batch of {seconds:.3g} s, and a lease of {self._lease:.3g} s")


def numbered(line: str) -> Tuple[str, str]:
    """Return the number in front of a line with its blank, "" if it has none, and what follows.

    >>> numbered("#17 STATE?"), numbered("SAFE")
    (('#17 ', 'STATE?'), ('', 'SAFE'))
    """
    number, blank, message = line.partition(" ")
    if blank and number[:1] == "#" and number[1:].isdigit():
        return number + blank, message
    return "", line


def _object(text: str) -> Dict[str, Any]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Rejected("syntax", f"no JSON: {error}") from error
    if not isinstance(given, dict):
        raise Rejected("syntax", "expected an object")
    return given


_CODE = (0, 4095)
_RANGES: Dict[str, Tuple[float, float]] = {
    **dict.fromkeys(("reference", "closed", "lowest", "up", "down", "top_gate", "m"), _CODE),
    "c": (-2048, 2047),
    "clock": (1e-10, 1e-3),
    "settle": (0.0, 1.0),
    "rest_clocks": (1, 1 << 24),
    **dict.fromkeys(("columns", "rows"), (0, (1 << 25) - 1)),
}


def _settings(given: Dict[str, Any], before: Settings) -> Settings:
    """Return settings with what is given; Rejected if one is none."""
    settings: Dict[str, Any] = before._asdict()
    for name, value in given.items():
        low, high = _RANGES.get(name, (0.0, 0.0))
        if name == "pots":
            right = isinstance(value, list) and len(value) == 25
            right = right and all(type(position) is int and 0 <= position <= 255 for position in value)
            value = tuple(value) if right else value
        elif name == "swapped":
            right = isinstance(value, bool)
        else:
            kinds: List[type] = [float, int] if name in ("clock", "settle") else [int]
            right = name in _RANGES and type(value) in kinds and low <= value <= high
        if not right:
            raise Rejected("refused", f"setting {str(name)[:40]} is {value!r}")
        settings[name] = value
    return Settings(**settings)
