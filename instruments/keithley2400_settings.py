"""Settings of a Series 2400: what is set after a reset and before its output goes on, and what is read back of it.

The table has everything that changes a reading, a level or a time of one that forces a voltage. Each is set all the
same after the reset, because the defaults are those of the manual (2400S-900-01 Rev. K, tables 18-1 to 18-11).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from instruments.keithley2400_models import SourceModel
from instruments.scpi import number
from labctl.core.source import ChannelSetup, OffState
from labctl.core.units import Volt

OFF_MODE = {OffState.NORMAL: "NORM", OffState.ZERO: "ZERO", OffState.HIGH_Z: "HIMP"}
ELEMENTS = ("VOLT", "CURR", "STAT")
"""Data elements of a reading; whatever order they are asked for in, they are sent in this one."""
FULL = 1.05
"""[?] A range is answered as its full scale, this times the range; the range itself is taken as well."""


@dataclass(frozen=True)
class Setting:
    """One setting.

    Args:
        header: of its command; with a question mark it asks for the value.
        text: its value as it is sent.
        value: number that is read back, or text in capitals.
        scale: the value may be answered as this times itself.
    """

    header: str
    text: str
    value: float | str
    scale: float = 1.0

    @property
    def command(self) -> str:
        """The message that sets it."""
        return f"{self.header} {self.text}"

    @property
    def query(self) -> str:
        """The message that asks for it."""
        return f"{self.header}?"

    def answered(self, reply: str) -> bool:
        """Return whether a reply is this value."""
        if isinstance(self.value, str):
            return reply.replace('"', "").replace(" ", "").upper() == self.value
        try:
            present = float(reply)
        except ValueError:
            return False
        return any(math.isclose(present, self.value * by, rel_tol=1e-4, abs_tol=1e-12) for by in (1.0, self.scale))


def _word(header: str, word: str) -> Setting:
    return Setting(header, word, word)


def _number(header: str, value: float, scale: float = 1.0) -> Setting:
    return Setting(header, number(value), value, scale)


NEUTRAL: tuple[Setting, ...] = (
    _number(":SYST:AZER", 1),
    _word(":SYST:GUAR", "CABL"),
    _word(":SYST:RCM", "SING"),
    _word(":FORM:DATA", "ASC"),
    Setting(":FORM:ELEM", ",".join(ELEMENTS), ",".join(ELEMENTS)),
    _number(":SOUR:CLE:AUTO", 0),
    _number(":SOUR:DEL", 0),
    _word(":SOUR:SWE:RANG", "FIX"),
    _word(":SOUR:SWE:CAB", "NEV"),
    _number(":SENS:FUNC:CONC", 1),
    _number(":SENS:CURR:PROT:RSYN", 0),
    _number(":SENS:CURR:NPLC", 1),
    _number(":SENS:AVER", 0),
    _word(":SENS:AVER:TCON", "REP"),
    _number(":CALC1:STAT", 0),
    _number(":CALC2:NULL:STAT", 0),
    _word(":ARM:SOUR", "IMM"),
    _number(":ARM:COUN", 1),
    _word(":TRIG:SOUR", "IMM"),
    _number(":TRIG:COUN", 1),
    _number(":TRIG:DEL", 0),
    _word(":TRAC:FEED:CONT", "NEV"),
)
"""Settings with one value in use."""

AFTER_RESET: tuple[Setting, ...] = (
    _word(":ROUT:TERM", "FRON"),
    _number(":SYST:RSEN", 0),
    *(setting for setting in NEUTRAL if setting.header not in (":FORM:ELEM", ":SOUR:SWE:RANG", ":SOUR:DEL")),
    _word(":SOUR:FUNC", "VOLT"),
    _word(":SOUR:VOLT:MODE", "FIX"),
)
"""Settings after a reset that are the same on every model; `check` lists those that are others."""


def settings(
    setup: ChannelSetup, range_v: Volt, model: SourceModel, *, terminals: str, output_enable: bool
) -> list[Setting]:
    """Return the settings of a unit that is off, ordered so that none conflicts with one before it.

    Args:
        range_v: source range, V.
        terminals: FRON or REAR.
        output_enable: the output enable line is to switch the output off.
    """
    protection = next((volts for volts in model.protection if volts >= range_v), model.ranges_v[-1] * FULL)
    return [
        _word(":ROUT:TERM", terminals),
        _word(":OUTP:SMOD", OFF_MODE[setup.off_state]),
        _number(":OUTP:ENAB", float(output_enable)),
        _number(":SYST:RSEN", float(setup.remote_sense)),
        _word(":SOUR:FUNC", "VOLT"),
        _word(":SOUR:VOLT:MODE", "FIX"),
        _number(":SOUR:VOLT", 0),
        _number(":SOUR:VOLT:RANG", range_v, FULL),
        _number(":SOUR:VOLT:PROT", protection),
        *NEUTRAL,
    ]


def pieces(plan: Sequence[Setting], most: int = 8) -> list[list[Setting]]:
    """Return settings in pieces that go as one message; those with more than one value in use go alone."""
    alone = [[setting] for setting in plan if setting not in NEUTRAL]
    together = [setting for setting in plan if setting in NEUTRAL]
    return alone + [together[at : at + most] for at in range(0, len(together), most)]
