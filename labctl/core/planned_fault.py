"""A fault that is to happen in a rehearsed night: what, to which die, when, and at which instrument."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from labctl.core.errors import StorageError

ON_THE_WAY = -1
"""Number of the operation of a fault that happens before the first one: while the die is approached."""


@dataclass(frozen=True)
class PlannedFault:
    """One fault of a rehearsed night; it happens to the first message or operation to which its kind applies.

    Args:
        number: in the list of the night, from 1.
        kind: its kind.
        die: the die that is worked on then.
        instrument: whose messages it happens to; "" for the die itself.
        operation: number of the operation on the die from which on it is due, or `ON_THE_WAY`.
        after: messages of the instrument that pass first.
        seed: of what is left to chance in it.
    """

    number: int
    kind: str
    die: str
    instrument: str = ""
    operation: int = ON_THE_WAY
    after: int = 0
    seed: int = 0

    @property
    def place(self) -> str:
        """The instrument and the die, or the die, in words.

        >>> PlannedFault(1, "busy", "D2", "smu1").place
        'smu1, die D2'
        """
        return f"{self.instrument}, die {self.die}" if self.instrument else f"die {self.die}"

    @property
    def when(self) -> str:
        """When it is due, in words.

        >>> PlannedFault(1, "busy", "D2", "smu1", 7, 3).when
        'from operation 7 on, after 3 messages'
        """
        begin = "on the way to the die" if self.operation == ON_THE_WAY else f"from operation {self.operation} on"
        return f"{begin}, after {self.after} messages" if self.after else begin

    def plain(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "PlannedFault":
        """Return the fault of `plain`; StorageError if that is none."""
        try:
            return cls(**{f.name: plain[f.name] for f in fields(cls)})
        except (KeyError, TypeError) as error:
            raise StorageError(f"{plain!r:.80} is no fault of a rehearsed night; another version wrote it") from error


@dataclass(frozen=True)
class InjectedFaults:
    """The faults of a rehearsed night.

    Args:
        name: of the night: "typical".
        seed: by which they were drawn.
        faults: in the order of the dies.
    """

    name: str
    seed: int
    faults: tuple[PlannedFault, ...]

    @property
    def text(self) -> str:
        """What they are, in words.

        >>> InjectedFaults("typical", 7, ()).text
        'injected faults (typical, seed 7)'
        """
        return f"injected faults ({self.name}, seed {self.seed})"

    def of_die(self, die: str) -> tuple[PlannedFault, ...]:
        """Return the faults of one die."""
        return tuple(fault for fault in self.faults if fault.die == die)

    def plain(self) -> dict[str, Any]:
        """Return them as JSON holds them."""
        return {"name": self.name, "seed": self.seed, "list": [fault.plain() for fault in self.faults]}

    @classmethod
    def of(cls, plain: Mapping[str, Any] | None) -> "InjectedFaults | None":
        """Return the faults of `plain`, None of None; StorageError if another version wrote it."""
        if plain is None:
            return None
        try:
            return cls(plain["name"], plain["seed"], tuple(PlannedFault.of(fault) for fault in plain["list"]))
        except (KeyError, TypeError) as error:
            raise StorageError(f"{plain!r:.80} are no faults of a rehearsed night; another version wrote it") from error
