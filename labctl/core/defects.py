"""Defects of cells: code, name, and how lists, maps and pictures mark them."""

from enum import IntEnum
from typing import Annotated

import numpy as np
import numpy.typing as npt


class Defect(IntEnum):
    """What a survey calls a cell.

    Stuck means no more than: did not switch at any rung of the ladder up to the survey's `v_max` at its `width`.

    Args:
        title: name for people.
        letter: its mark in a map of characters.
        marker: its mark in a picture, as matplotlib names it.
    """

    title: str
    letter: str
    marker: str

    def __new__(cls, value: int, title: str = "", letter: str = "", marker: str = "") -> "Defect":
        """Return the defect of code `value` with its marks."""
        code = int.__new__(cls, value)
        code._value_, code.title, code.letter, code.marker = value, title, letter, marker
        return code

    GOOD = 0, "good"
    """switches between two states"""
    SHORT = 1, "short", "S", "X"
    """conducts more than any junction of this die would"""
    OPEN = 2, "open", "O", "o"
    """conducts less than any junction of this die would"""
    STUCK_P = 3, "stuck P", "P", "^"
    """did not switch at any rung, and reads nearer to P"""
    STUCK_AP = 4, "stuck AP", "A", "v"
    """did not switch at any rung, and reads nearer to AP"""
    LOW_TMR = 5, "low TMR", "L", "d"
    """switches, with a TMR below the one wanted"""
    UNREADABLE = 6, "unreadable", "U", "s"
    """a read after writing is flagged"""
    NOT_REACHED = 7, "not reached", "N", "P"
    """did not switch, and was not pulsed properly: its line in compliance, its budget used up, or a read flagged"""

    @property
    def key(self) -> str:
        """Name in files: of a figure of merit, of a fraction in a die file, of a code in HDF5."""
        return self.name.lower()


DEFECTS = tuple(kind for kind in Defect if kind is not Defect.GOOD)
"""Everything but a good cell, by code."""
DefectArray = Annotated[npt.NDArray[np.uint8], Defect]
"""Codes of `Defect`."""
FABRICATED = (Defect.SHORT, Defect.OPEN, Defect.STUCK_P, Defect.STUCK_AP, Defect.LOW_TMR)
"""Defects that a cell may have from its fabrication; the others are of a survey."""
