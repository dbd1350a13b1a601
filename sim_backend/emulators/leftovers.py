"""What an earlier user may have left on an instrument, each part of its state at a random legal value.

For dirty starts of a twin: whoever works on it must read what a clean one reads, or refuse by the name of the cause.
The parts are those that the emulator has anyway, its attributes and commands, so that a new one is covered by itself;
what is legal is what it accepts.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Leave = Callable[[Random], str | None]
"""Puts a part of a state to a random legal value and returns it as text; None if no other was accepted."""

TRIES = 40
"""Values that are tried until one is accepted."""

SMALL = (-1, 0, 1, 2, 3, 4, 5, 10, 16, 100, 128)
"""Numbers that modes, counts and switches may have."""

ERRORS = (
    (1115, "Parameter error: channel does not exist", 20),
    (-286, "TSP Runtime error at line 1: attempt to index global `smuc' (a nil value)", 20),
    (-285, "TSP Syntax error at line 1: unexpected symbol near `='", 20),
    (-221, "Settings conflict", 20),
    (-420, "Query UNTERMINATED", 20),
    (802, "OUTPUT blocked by output enable", 20),
    (5007, "Operation would exceed safe operating area of the instrument", 20),
    (4915, "Attempting to store past the capacity of the reading buffer", 20),
)
"""Entries of an error queue: code, text, severity."""

IDENTITIES = (
    "{maker}, Model {model}, {serial}, {revision}",
    "KEITHLEY INSTRUMENTS,MODEL {model},{serial},{revision}",
    "KEITHLEY INSTRUMENTS INC.,MODEL {model}, {serial}, {revision}",
    "Keithley Instruments,{model},{serial},{revision}",
    "Keithley Instruments, Inc., Model {model}, {serial}, {revision}",
    "KEITHLEY INSTRUMENTS, LLC , MODEL:{model} ,  {serial},{revision}, build 7, 2026",
    '"Keithley, a Tektronix company","{model}","S/N {serial}","{revision}"',
    "Keithley Instruments Inc.; Model {model}; {serial}; {revision}",
    "{maker}, Model {model}-PULSE, {serial}, {revision}",
    "{maker}, Model 2400, {model}, {revision}",
    "Tektronix Model {model}, {serial}, {revision}",
    "{maker}, Model 2400, {serial}, {revision}",
    "{model}",
    "{serial}",
    "unknown",
)
"""Identities in the forms that firmware has, and some that tell no model or another one."""


def some_number(rng: Random) -> float:
    """Return a number that an attribute may have: a small whole one, or one of any size and sign."""
    if rng.random() < 0.5:
        return rng.choice(SMALL)
    return float(f"{10 ** rng.uniform(-10, 2.5) * rng.choice((1, 1, 1, -1)):.4g}")


def at_attribute(read: Callable[[], Any], write: Callable[[Any], Any], refusal: type[Exception]) -> Leave:
    """Return how an attribute with a getter and a setter is left at another value.

    Args:
        refusal: what the setter raises for a value that is not legal.
    """

    def leave(rng: Random) -> str | None:
        before = read()
        for _ in range(TRIES):
            try:
                write(not before if isinstance(before, bool) else some_number(rng))
            except refusal:
                continue
            if read() != before:
                return str(read())
        return None

    return leave


def at_command(
    execute: Callable[[str], bool], name: str, arguments: Sequence[str], most: int, state: Callable[[], str]
) -> Leave:
    """Return how a command with random arguments is left to have been carried out.

    Args:
        execute: carries a line out; returns whether it was accepted.
        arguments: texts that arguments are drawn from; a number of any size is drawn as well.
        most: largest number of arguments.
        state: the state of the instrument, which another one has to be afterwards.
    """

    def leave(rng: Random) -> str | None:
        before = state()
        for _ in range(TRIES * most + 1):
            drawn = [
                rng.choice(arguments) if rng.random() < 0.5 else f"{rng.choice((1, 30, 300, 15000)) * rng.random():.0f}"
                for _ in range(rng.randint(0, most))
            ]
            line = f"{name} {', '.join(drawn)}".strip()
            if execute(line) and state() != before:
                return line
        return None

    return leave
