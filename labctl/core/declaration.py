"""Values of declarations that other people's code makes: of the type that is declared, and such as every file can hold.

A declaration goes into the journal, onto pages and into exports long after it was made. What it holds is therefore
looked at when it is made, by type and never by what an object says of itself: its methods may do anything.
"""

import math
import numbers
from contextlib import suppress
from enum import Enum
from typing import Any, TypeVar

import numpy as np

from labctl.core.texts import named_character, odd_character

LONGEST = 2000
"""Characters of a text."""
LARGEST = 1e30
"""Magnitude of a number."""

E = TypeVar("E", bound=Enum)


def text(name: str, value: Any, *, empty: bool = True) -> str:
    """Return a text of printable characters; ValueError with `name` if it is none.

    >>> text("title", "R_P")
    'R_P'
    """
    if not issubclass(type(value), str):
        raise ValueError(f"{name} is {kind_of(value)}; expected a text")
    plain = str.__str__(value)
    odd = odd_character(plain)
    if odd or len(plain) > LONGEST or not (plain.strip() or empty):
        what = f"has {named_character(odd)}" if odd else f"has {len(plain):,} characters"
        raise ValueError(f"{name} {what}; expected up to {LONGEST:,} that can be printed")
    return plain


def number(name: str, value: Any) -> float:
    """Return a finite number as float; ValueError with `name` if it is none.

    >>> number("factor", 1000)
    1000.0
    """
    plain = math.nan
    if issubclass(type(value), numbers.Real) and not issubclass(type(value), bool):
        with suppress(Exception):  # of a type of somebody else, or beyond what a float holds
            plain = float(value)
    if not abs(plain) <= LARGEST:
        raise ValueError(f"{name} is {kind_of(value)}; expected a finite number up to {LARGEST:g}")
    return plain


def whole(name: str, value: Any, least: int, most: int) -> int:
    """Return a whole number as int; ValueError with `name` if it is none, or out of bounds."""
    plain = least - 1
    if issubclass(type(value), numbers.Integral) and not issubclass(type(value), bool):
        with suppress(Exception):  # of a type of somebody else
            plain = int(value)
    if not least <= plain <= most:
        raise ValueError(f"{name} is {kind_of(value)}; expected a whole number from {least:,} to {most:,}")
    return plain


def flag(name: str, value: Any) -> bool:
    """Return True or False; ValueError with `name` if it is neither."""
    if not issubclass(type(value), bool | np.bool_):
        raise ValueError(f"{name} is {kind_of(value)}; expected True or False")
    return bool(value)


def member(name: str, value: Any, of: type[E]) -> E:
    """Return a member of an enumeration, which may be given by its value; ValueError with `name` if it is none."""
    if issubclass(type(value), of):
        return of(value)
    if type(value) is str and value in {one.value for one in of}:
        return of(value)
    raise ValueError(f"{name} is {kind_of(value)}; expected {of.__name__}.{', '.join(one.name for one in of)}")


def kind_of(value: Any) -> str:
    """Return what a value is, for messages: itself if it is plain and short, else its type.

    >>> kind_of(None), kind_of(3), kind_of("x"), kind_of([1, 2])
    ('None', '3', "'x'", 'a list')
    """
    if value is None:
        return "None"
    if type(value) in (bool, int, float, str) and len(shown := repr(value)) <= 60:
        return shown
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
