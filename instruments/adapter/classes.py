"""Ready maps: what of common classes of PyMeasure and QCoDeS is called, and which driver of ours reads back.

Each was carried out on the emulated instrument of its family with PyMeasure 0.16.0 and QCoDeS 0.58.0, and on no real
one. Where a class sends a number with too few digits, another range than it says, or a colon before a common command,
its own `write` is used. PyMeasure's `Keithley2600` and QCoDeS's `Keithley2400` send six digits behind the point, in
which no limit below 1 uA arrives. `measure_nplc` of the former takes two values only; `rangei` of the latter sets the
range of the current source. The latter's `reset`, and that of PyMeasure's `Keithley2450`, send `:*RST` or `:*CLS`,
which IEEE 488.2 and the emulators refuse.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from instruments.adapter.roles import MatrixRoles, Roles, SourceRoles

_SMODE = '{"normal": "NORM", "zero": "ZERO", "high_z": "HIMP"}[off_state]'
_TERMINALS = '{"front": "FRON", "rear": "REAR"}[terminals]'
_JACKS = f"write(':ROUT:TERM %s' % {_TERMINALS})"
_SCPI_ERROR = ('query(":SYST:ERR?")',)
_TSP_ERROR = ('query("print(errorqueue.next())")',)
_OFF_MODE_2600 = '{"normal": 0, "zero": 1, "high_z": 2}[off_state]'
_SENSED_2400 = ("number(query(':SENS:CURR:RANG?')) <= 1.06 * range_i", "query(':SENS:CURR:RANG:AUTO?') == '0'")
_EXPECT_2400 = (
    "query(':SOUR:FUNC?') == 'VOLT'", "query(':SOUR:VOLT:MODE?') == 'FIX'", "query(':SYST:RSEN?') == str(remote_sense)",
    "query(':SENS:AVER?') == '0'", "number(query(':SOUR:DEL?')) == 0", "query(':SOUR:CLE:AUTO?') == '0'",
    "query(':SENS:CURR:PROT:RSYN?') == '0'", "query(':SENS:FUNC:CONC?') == '1'", "query(':SYST:AZER?') == '1'",
    f"query(':OUTP:SMOD?') == {_SMODE}", f"query(':ROUT:TERM?') == {_TERMINALS}",
    "range_v <= 1.001 * number(query(':SOUR:VOLT:RANG?')) <= 1.06 * range_v",
)  # fmt: skip
_APERTURE_SCPI = ("0.99 * cycles - 0.005 <= number(query(':SENS:CURR:NPLC?')) <= 1.01 * cycles + 0.005",)
"""Instruments may keep hundredths of a cycle."""
_EXPECT_2450 = (
    "query(':SOUR:FUNC?') == 'VOLT'", "query(':SENS:CURR:RSEN?') == str(remote_sense)",
    "query(':SENS:CURR:AVER?') == '0'", "number(query(':SOUR:VOLT:DEL?')) == 0", "query(':SENS:COUN?') == '1'",
    f"query(':OUTP:VOLT:SMOD?') == {_SMODE}", f"query(':ROUT:TERM?') == {_TERMINALS}",
    "query(':SENS:CURR:UNIT?') == 'AMP'",
    "range_v <= 1.001 * number(query(':SOUR:VOLT:RANG?')) <= 1.06 * range_v",
)  # fmt: skip
_SENSED_2450 = ("number(query(':SENS:CURR:RANG?')) <= 1.06 * range_i", "query(':SENS:CURR:RANG:AUTO?') == '0'")
_EXPECT_2600 = tuple(
    f"number(query('print(%s.{setting})' % channel)) == {value}"
    for setting, value in (
        ("source.func", "1"), ("sense", "remote_sense"), ("source.autorangev", "0"), ("measure.autorangei", "0"),
        ("measure.filter.enable", "0"), ("measure.rel.enablei", "0"), ("source.delay", "0"), ("measure.delay", "0"),
        ("measure.count", "1"), ("source.offmode", _OFF_MODE_2600), ("source.rangev", "range_v"),
    )
)  # fmt: skip
_SENSED_2600 = ("number(query('print(%s.measure.rangei)' % channel)) == range_i",)
_APERTURE_2600 = ("0.99 * cycles <= number(query('print(%s.measure.nplc)' % channel)) <= 1.01 * cycles",)
_SETTINGS_2600 = (
    "sense=%d\" % remote_sense", "source.autorangev=0\"", "measure.autorangei=0\"", "measure.filter.enable=0\"",
    "measure.rel.enablei=0\"", "source.delay=0\"", "measure.delay=0\"", "measure.count=1\"",
    f"source.offmode=%d\" % {_OFF_MODE_2600}",
)  # fmt: skip


@dataclass(frozen=True)
class ReadyMap:
    """What is known of one class.

    Args:
        roles: its statements.
        family: driver of ours for the same instruments, which reads back and makes safe; "" if there is none.
        model: of the instruments, unless the bench file names another one.
        channels: path from the object to each channel's, by the channel as `family` names it.
        rows, columns: of a matrix, the numbers that it has.
        emergency: of a matrix, what opens all relays without the object, and the question for those that are closed.
    """

    roles: Roles
    family: str = ""
    model: str = ""
    channels: dict[str, str] = field(default_factory=dict)
    rows: Sequence[int] = ()
    columns: Sequence[int] = ()
    emergency: tuple[str, str] | None = None


_PYMEASURE_2400 = ReadyMap(
    SourceRoles(
        set_up=(
            "reset()", "reset_data_format()", _JACKS, "source_mode = 'voltage'", "auto_output_off_enabled = False",
            "filter_enabled = False", "source_delay = 0", "auto_zero_enabled = True",
            "write(':SENS:FUNC:CONC 1')", "write(':SENS:CURR:PROT:RSYN 0')", "write(':SYST:RSEN %d' % remote_sense)",
            f"write(':OUTP:SMOD %s' % {_SMODE})", "source_voltage_range = range_v",
            "write(':SENS:CURR:RANG 1e-6')",
        ),
        level=("source_voltage = volts",),
        limit=("compliance_current = amps", "current_range = range_i"),
        limit_down=("current_range = range_i", "compliance_current = amps"),
        output_on=("source_enabled = True",),
        output_off=("source_enabled = False",),
        aperture=("current_nplc = cycles",),
        mains=("query(':SYST:LFR?')",),
        measure=("measure_all()",),
        current=("reading['current']",),
        voltage=("reading['voltage']",),
        limited=("query(':SENS:CURR:PROT:TRIP?')",),
        error=_SCPI_ERROR,
        expect=_EXPECT_2400,
        expect_limit=_SENSED_2400,
        expect_aperture=_APERTURE_SCPI,
    ),
    family="keithley2400",
    model="2400",
    channels={"out": ""},
)  # fmt: skip
_QCODES_2400 = ReadyMap(
    SourceRoles(
        set_up=(
            "write('*RST')", _JACKS, "write(':TRIG:COUN 1;:FORM:ELEM VOLT,CURR')", "mode('VOLT')",
            "write(':SOUR:CLE:AUTO 0')",
            "write(':SENS:AVER 0;:SOUR:DEL 0;:SYST:AZER 1')", "write(':SENS:FUNC:CONC 1;:SENS:CURR:PROT:RSYN 0')",
            "write(':SYST:RSEN %d' % remote_sense)", f"write(':OUTP:SMOD %s' % {_SMODE})", "rangev(range_v)",
            "write(':SOUR:VOLT:RANG %.9g' % range_v)", "write(':SENS:FUNC \"VOLT\",\"CURR\"')",
            "write(':SENS:CURR:RANG 1e-6')",
        ),
        level=("volt(volts)",),
        limit=("write(':SENS:CURR:PROT %.9g' % amps)", "write(':SENS:CURR:RANG %.9g' % range_i)"),
        limit_down=("write(':SENS:CURR:RANG %.9g' % range_i)", "write(':SENS:CURR:PROT %.9g' % amps)"),
        output_on=("output(True)",),
        output_off=("output(False)",),
        aperture=("nplci(cycles)",),
        mains=("query(':SYST:LFR?')",),
        current=("curr()",),
        voltage=("volt()",),
        limited=("query(':SENS:CURR:PROT:TRIP?')",),
        error=_SCPI_ERROR,
        expect=_EXPECT_2400,
        expect_limit=_SENSED_2400,
        expect_aperture=_APERTURE_SCPI,
    ),
    family="keithley2400",
    model="2400",
    channels={"out": ""},
)  # fmt: skip
_COMMON_2450 = (
    "write(':SENS:CURR:RSEN %d' % remote_sense)", "write(':SENS:CURR:AVER 0;:SENS:COUN 1;:SENS:CURR:UNIT AMP')",
    f"write(':OUTP:VOLT:SMOD %s' % {_SMODE})",
)  # fmt: skip
_PYMEASURE_2450 = ReadyMap(
    SourceRoles(
        set_up=(
            "write('*RST')", _JACKS, "source_mode = 'voltage'", "write(':SENS:FUNC \"CURR\"')", *_COMMON_2450,
            "source_voltage_range = range_v", "source_voltage_delay = 0", "write(':SENS:CURR:RANG:AUTO 0')",
        ),
        level=("source_voltage = volts",),
        limit=("compliance_current = amps", "current_range = range_i"),
        limit_down=("current_range = range_i", "compliance_current = amps"),
        output_on=("enable_source()",),
        output_off=("disable_source()",),
        aperture=("current_nplc = cycles",),
        mains=("query(':SYST:LFR?')",),
        measure=("values(':READ? \"defbuffer1\", READ, SOUR')",),
        current=("reading[0]",),
        voltage=("reading[1]",),
        limited=("query(':SOUR:VOLT:ILIM:TRIP?')",),
        error=_SCPI_ERROR,
        expect=_EXPECT_2450,
        expect_limit=_SENSED_2450,
        expect_aperture=_APERTURE_SCPI,
    ),
    family="keithley2450",
    model="2450",
    channels={"out": ""},
)  # fmt: skip
_QCODES_2450 = ReadyMap(
    SourceRoles(
        set_up=(
            "reset()", _JACKS, "sense_function('current')", "source_function('voltage')", *_COMMON_2450,
            "source.range(range_v)", "source.delay(0)", "source.read_back_enabled(True)", "sense.auto_range(False)",
        ),
        level=("source.voltage(volts)",),
        limit=("source.limit(amps)", "sense.range(range_i)"),
        limit_down=("sense.range(range_i)", "source.limit(amps)"),
        output_on=("output_enabled(True)",),
        output_off=("output_enabled(False)",),
        aperture=("sense.nplc(cycles)",),
        mains=("line_frequency()",),
        measure=("sense.current()",),
        current=("reading",),
        voltage=("number(query(':FETC? \"defbuffer1\", SOUR'))",),
        limited=("query(':SOUR:VOLT:ILIM:TRIP?')",),
        error=_SCPI_ERROR,
        expect=_EXPECT_2450,
        expect_limit=_SENSED_2450,
        expect_aperture=_APERTURE_SCPI,
    ),
    family="keithley2450",
    model="2450",
    channels={"out": ""},
)  # fmt: skip
_PYMEASURE_2600 = ReadyMap(
    SourceRoles(
        set_up=(
            "write('reset()')", "source_mode = 'voltage'", *(f'write("{line})' for line in _SETTINGS_2600),
            "source_voltage_range = range_v",
        ),
        level=("source_voltage = volts",),
        limit=("write('source.limiti=%.9g' % amps)", "write('measure.rangei=%.9g' % range_i)"),
        output_on=("source_output = 'ON'",),
        output_off=("source_output = 'OFF'",),
        aperture=("write('measure.nplc=%.9g' % cycles)",),
        mains=("query('print(localnode.linefreq)')",),
        current=("current",),
        voltage=("voltage",),
        limited=("query('print(%s.source.compliance)' % channel)",),
        error=_TSP_ERROR,
        expect=_EXPECT_2600,
        expect_limit=_SENSED_2600,
        expect_aperture=_APERTURE_2600,
    ),
    family="keithley2600b",
    model="2602B",
    channels={"smua": "ChA", "smub": "ChB"},
)  # fmt: skip


def _qcodes_2600(model: str) -> ReadyMap:
    """Return the map of QCoDeS's class of one model."""
    return ReadyMap(
        SourceRoles(
            set_up=(
                "write(channel + '.reset()')", "mode('voltage')",
                *(f'write(channel + ".{line})' for line in _SETTINGS_2600),
                "sourcerange_v(range_v)",
            ),
            level=("volt(volts)",),
            limit=("limiti(amps)", "write('%s.measure.rangei=%.9g' % (channel, range_i))"),
            output_on=("output(True)",),
            output_off=("output(False)",),
            aperture=("nplc(cycles)",),
            mains=("linefreq()",),
            current=("curr()",),
            voltage=("volt()",),
            limited=("query('print(%s.source.compliance)' % channel)",),
            error=_TSP_ERROR,
            expect=_EXPECT_2600,
            expect_limit=_SENSED_2600,
            expect_aperture=_APERTURE_2600,
        ),
        family="keithley2600b",
        model=model,
        channels={"smua": "smua", "smub": "smub"},
    )  # fmt: skip


_B220X = ReadyMap(
    MatrixRoles(
        crosspoint=("(int(row), int(column))",),
        close=("connect_paths(items)",),
        open=("disconnect_paths(items)",),
        closed=("connections()",),
        prepare=(
            "connection_rule('free')", "connection_sequence('bbm')", "bias_mode(False)", "gnd_mode(False)",
            "couple_mode(False)",
        ),
        error=_SCPI_ERROR,
        expect=(
            "connection_rule() == 'free'", "connection_sequence() == 'bbm'", "bias_mode() == False",
            "gnd_mode() == False", "couple_mode() == False",
        ),
    ),
    rows=range(1, 15),
    columns=range(1, 49),
    emergency=(":OPEN:CARD 0", ":CLOS:CARD? 0"),
)  # fmt: skip

READY: dict[tuple[str, str], ReadyMap] = {
    ("pymeasure", "Keithley2400"): _PYMEASURE_2400,
    ("pymeasure", "Keithley2450"): _PYMEASURE_2450,
    ("pymeasure", "Keithley2600"): _PYMEASURE_2600,
    ("qcodes", "Keithley2400"): _QCODES_2400,
    ("qcodes", "Keithley2450"): _QCODES_2450,
    **{
        ("qcodes", f"Keithley{model}"): _qcodes_2600(model)
        for model in ("2601B", "2602B", "2604B", "2611B", "2612B", "2614B", "2634B", "2635B", "2636B")
    },
    ("qcodes", "KeysightB2200"): _B220X,
    ("qcodes", "KeysightB2201"): _B220X,
}
"""Maps by library and name of the class."""


def ready(path: str) -> ReadyMap | None:
    """Return the map of a class of one of these libraries; None if there is none.

    >>> ready("pymeasure.instruments.keithley.Keithley2400").family
    'keithley2400'
    >>> ready("mylab.Keithley2400")
    """
    match = re.fullmatch(r"(\w+)\.(?:\w+\.)*(\w+)", path)
    return READY.get((match[1], match[2])) if match else None


def names(library: str, roles: type[Any]) -> list[str]:
    """Return the names of the classes of a library that have a map with roles of this kind."""
    return [name for (of, name), known in READY.items() if of == library and isinstance(known.roles, roles)]
