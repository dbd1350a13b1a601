"""Settings of a Series 2400: what is set after a reset and before its output goes on, and what is read back of it.

The table has everything that changes a reading, a level or a time of one that forces a voltage. Each is set all the
same after the reset, because the defaults are those of the manual (2400S-900-01 Rev. K, tables 18-1 to 18-11).
"""

from instruments.keithley2400_models import SourceModel
from instruments.scpi_source import Setting, plain, word
from labctl.core.source import ChannelSetup, OffState
from labctl.core.units import Volt

OFF_MODE = {OffState.NORMAL: "NORM", OffState.ZERO: "ZERO", OffState.HIGH_Z: "HIMP"}
ELEMENTS = ("VOLT", "CURR", "STAT")
"""Data elements of a reading; whatever order they are asked for in, they are sent in this one."""
FULL = 1.05
"""[?] A range is answered as its full scale, this times the range; the range itself is taken as well."""

NEUTRAL: tuple[Setting, ...] = (
    plain(":SYST:AZER", 1),
    word(":SYST:GUAR", "CABL"),
    word(":SYST:RCM", "SING"),
    word(":FORM:DATA", "ASC"),
    word(":FORM:ELEM", ",".join(ELEMENTS)),
    plain(":SOUR:CLE:AUTO", 0),
    plain(":SOUR:DEL", 0),
    word(":SOUR:SWE:RANG", "FIX"),
    word(":SOUR:SWE:CAB", "NEV"),
    plain(":SENS:FUNC:CONC", 1),
    plain(":SENS:CURR:PROT:RSYN", 0),
    plain(":SENS:CURR:NPLC", 1),
    plain(":SENS:AVER", 0),
    word(":SENS:AVER:TCON", "REP"),
    plain(":CALC1:STAT", 0),
    plain(":CALC2:NULL:STAT", 0),
    word(":ARM:SOUR", "IMM"),
    plain(":ARM:COUN", 1),
    word(":TRIG:SOUR", "IMM"),
    plain(":TRIG:COUN", 1),
    plain(":TRIG:DEL", 0),
    word(":TRAC:FEED:CONT", "NEV"),
)
"""Settings with one value in use."""

AFTER_RESET: tuple[Setting, ...] = (
    word(":ROUT:TERM", "FRON"),
    plain(":SYST:RSEN", 0),
    *(setting for setting in NEUTRAL if setting.header not in (":FORM:ELEM", ":SOUR:SWE:RANG", ":SOUR:DEL")),
    word(":SOUR:FUNC", "VOLT"),
    word(":SOUR:VOLT:MODE", "FIX"),
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
        word(":ROUT:TERM", terminals),
        word(":OUTP:SMOD", OFF_MODE[setup.off_state]),
        plain(":OUTP:ENAB", float(output_enable)),
        plain(":SYST:RSEN", float(setup.remote_sense)),
        word(":SOUR:FUNC", "VOLT"),
        word(":SOUR:VOLT:MODE", "FIX"),
        plain(":SOUR:VOLT", 0),
        plain(":SOUR:VOLT:RANG", range_v, FULL),
        plain(":SOUR:VOLT:PROT", protection),
        *NEUTRAL,
    ]
