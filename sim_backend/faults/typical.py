"""A plausible night: which faults happen to a run, drawn from one table. Its rates are this project's own estimates."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from labctl.core.planned_fault import ON_THE_WAY, PlannedFault
from sim_backend.faults.dies import BAD, CONTACT_LOST, DEAD, MADE, NO_ANSWER, NO_CONTACT

SIMULATED, ANY = "simulated", "any"
"""Kinds of dies that a fault of a die concerns: those without instruments, and all."""
LIBRARY = "board behind a library"
"""Kind of a board whose driver calls a library of its maker."""
ROLES = ("source", "matrix", "prober", "pulse source", "board")
QUEUES = ("source", "matrix", "pulse source")
MOST_MESSAGES = 12
"""Messages that may pass before a fault that is due happens."""


@dataclass(frozen=True)
class TypicalFault:
    """A kind of fault of a plausible night.

    Args:
        at: kinds of instruments that it happens to, some only beside a prober, or one of SIMULATED and ANY for a fault
            of the die.
        rate: how many are expected in a night, however long it is; of a die that is made bad, or not touched, per die.
        why: where that comes from.
    """

    kind: str
    at: tuple[str, ...]
    rate: float
    why: str

    @property
    def per_die(self) -> bool:
        """Whether the rate is per die."""
        return self.kind in (DEAD, BAD, NO_CONTACT)


TABLE: tuple[TypicalFault, ...] = (
    TypicalFault("reply late, with the next one", ROLES, 1.5, "a busy network or controller: the commonest of all"),
    TypicalFault("reply lost", ROLES, 0.5, "a controller that drops a reply while it does something else"),
    TypicalFault("connection closed before", ROLES, 0.3, "an idle socket that instrument or switch has dropped"),
    TypicalFault("connection closed after", ROLES, 0.3, "the same with the message on its way"),
    TypicalFault("busy", ("source", "matrix", "board"), 0.2, "a script that does not end"),
    TypicalFault("error queued after", QUEUES, 0.4, "a command that the instrument refuses once"),
    TypicalFault("one number 9.91e37", ("source",), 0.3, "a reading that overflows its range"),
    TypicalFault("relays stuck", ("matrix",), 0.3, "worn or dirty reed relays"),
    TypicalFault("output trips off", ("source",), 0.3, "interlock, OUTPUT key, heat, a dip of the mains"),
    TypicalFault(
        "needles lift",
        ("source", "board under a prober"),
        0.4,
        "a chuck that creeps, somebody at the table, a worn pad",
    ),
    TypicalFault("power cycle, link lost", (*QUEUES, "board"), 0.1, "a loose plug, a dip of the mains"),
    TypicalFault("lease lost", ("board",), 0.2, "a computer that does something else for longer than the lease"),
    TypicalFault("made safe by another client", ("board",), 0.1, "'labctl off' at another terminal, for this board"),
    TypicalFault("amplifier saturated", ("board",), 0.1, "a burst of interference, a socket that somebody touches"),
    TypicalFault("supply off", ("board",), 0.1, "a dip of the supply of converters and amplifiers"),
    TypicalFault("call of the library fails", (LIBRARY,), 0.5, "a USB hub or cable that drops a transfer"),
    TypicalFault("library panics", (LIBRARY,), 0.2, "a state in which its makers have not seen it"),
    TypicalFault("board never ends", (LIBRARY,), 0.2, "as 'busy', of a board that carries out what it was sent"),
    TypicalFault(DEAD, (ANY,), 0.03, "a die of which no cell conducts: at the edge, broken lines"),
    TypicalFault(BAD, (ANY,), 0.05, "a die with two of five cells shorted or open"),
    TypicalFault(NO_CONTACT, (SIMULATED,), 0.03, "dirty needles or pads"),
    TypicalFault(CONTACT_LOST, (SIMULATED,), 0.4, "as 'needles lift', where there are no instruments"),
    TypicalFault(NO_ANSWER, (SIMULATED,), 0.4, "stands for all that happens to instruments, where there are none"),
)
"""Kinds of a plausible night. Left out: what nothing can tell (a digit changed), what sockets do not do (bytes lost or
garbled), an instrument that is dead for good, kills of processes, a disk that fills."""


def draw(dies: Mapping[str, int], instruments: Mapping[str, str] | None, seed: int) -> tuple[PlannedFault, ...]:
    """Return the faults of a night, in the order of the dies; the same arguments give the same faults.

    Args:
        dies: expected number of operations on each die, in order.
        instruments: kind of each instrument that faults can happen to, by name; None for dies without instruments.
        seed: of the night. A kind has its own chance: one more kind changes nothing of the others.
    """
    drawn: list[PlannedFault] = []
    names, alone = list(dies), instruments is None
    for typical in TABLE:
        dice = Random(f"typical {seed} {typical.kind}")
        at = _concerned(typical, instruments or {})
        if typical.per_die:
            hit = [name for name in names if dice.random() < typical.rate]
            if ANY in typical.at or alone:
                made = {fault.die for fault in drawn if fault.kind in MADE}
                drawn += [PlannedFault(0, typical.kind, name) for name in hit if name not in made]
        elif at or (SIMULATED in typical.at and alone):
            drawn += [_one(typical, dies, at, dice) for _ in range(_poisson(typical.rate, dice))]
    drawn.sort(key=lambda fault: (names.index(fault.die), fault.operation, fault.kind))
    return tuple(
        PlannedFault(k, f.kind, f.die, f.instrument, f.operation, f.after, f.seed) for k, f in enumerate(drawn, 1)
    )


def _concerned(typical: TypicalFault, instruments: Mapping[str, str]) -> dict[str, str]:
    """Return the kind of each instrument to which a kind of fault may happen, by name."""
    beside = " under a prober" if "prober" in instruments.values() else ""
    return {name: kind for name, kind in instruments.items() if {kind, kind + beside} & set(typical.at)}


def _one(typical: TypicalFault, dies: Mapping[str, int], at: Mapping[str, str], dice: Random) -> PlannedFault:
    """Return one fault at a random moment of the night; a prober is only spoken to on the way to a die."""
    die = dice.choices(list(dies), [1 + number for number in dies.values()])[0]
    operation = dice.randrange(ON_THE_WAY, max(1, dies[die]))
    if not at:
        return PlannedFault(0, typical.kind, die, operation=operation)
    instrument = dice.choice(sorted(at))
    if at[instrument] == "prober":
        operation = ON_THE_WAY
    after = dice.randrange(MOST_MESSAGES)
    return PlannedFault(0, typical.kind, die, instrument, operation, after, dice.getrandbits(32))


def _poisson(mean: float, dice: Random) -> int:
    """Return a number drawn from the Poisson distribution."""
    number, product, least = 0, dice.random(), math.exp(-mean)
    while product > least:
        number, product = number + 1, product * dice.random()
    return number
