"""Dirty starts: some of them hold in every family, and the harness notices what it is there for."""

from random import Random

import pytest
from faults import dirty as script
from faults.dirty_bench import FAMILIES, Start, carry_out

from instruments import keithley2400, keithley2450, keithley2450_script, keithley2600b
from instruments.keithley707b import Keithley707B
from instruments.keithley2450_tsp import Keithley2450Tsp
from instruments.keithley2600b import Keithley2600B
from instruments.keithley7001 import Keithley7001
from instruments.keysightb2200 import KeysightB2200
from instruments.keysightm9615a import KeysightM9615A
from instruments.mpi_sentio import MpiSentio
from instruments.niswitch import NiSwitch
from instruments.scpi import Scpi
from instruments.scpi_source import ScpiSource
from instruments.tsp import Tsp
from labctl.core.errors import LabError
from labctl.core.prober import Position


@pytest.mark.parametrize("family", FAMILIES)
def test_a_few_starts_of_every_family_measure_the_same_or_refuse_by_cause_and_end_off(family):
    courses = [carry_out(family, number) for number in range(1000, 1006)]
    assert [course.violated for course in courses if course.violated] == []
    assert sum(bool(course.left) for course in courses) >= 3


def course(family, left):
    """Return the course of a start on which commands, by the part that they leave, were carried out before."""
    start = Start(family, 10_000, clean=True)
    for part, command in left.items():
        start.twin.instruments[part.partition(".")[0]].execute(command)
        start.course.left[part] = command
    measured = None
    try:
        measured = start.measure()
    except LabError as error:
        start.course.refusal = str(error)
    start.judge(measured)
    start.switch_off()
    return start.course


def trusting(channel, plan):
    """Return the messages of a driver that sets ranges and limits, and trusts whatever else it meets."""
    names = ("func", "levelv", "offmode", "offlimiti", "range", "limiti")
    return [f"{channel}.{s.attribute}={s.text}" for s in plan if any(name in s.attribute for name in names)]


def stay(prober, col, row, subsite=None):
    """Stay where the chuck is, and say that it has stepped."""
    prober.separate()
    return Position(col, row)


FORGOTTEN = (":SENS:AVER", ":SYST:AZER", ":SENS:CURR:AVER", ":SENS:CURR:UNIT")


def forgetful(scpi, text, **more):
    """Send a setting, but no reset and none of those forgotten."""
    parts = [part for part in text.split(";") if part != "*RST" and not part.startswith(FORGOTTEN)]
    if parts:
        SET(scpi, ";".join(parts), **more)


def unset(smu, channel, range_v, setup):
    """Define the functions of scripts, and set nothing but the range of the source."""
    for text in (*keithley2450_script.FUNCTIONS, f"smu.source.range={range_v} smu.measure.range=1e-6"):
        smu._tsp.set(text)


SET = Scpi.set
FILTER = {"smu.[:SENSe[1]]:AVERage[:STATe]": ":SENS:AVER 1"}
OHMS = {"smu.[:SENSe[1]]:CURRent[:DC]:UNIT": ":SENS:CURR:UNIT OHM"}
FILTER_2450 = {"smu.[:SENSe[1]]:CURRent[:DC]:AVERage[:STATe]": ":SENS:CURR:AVER 1"}
FILTER_TSP = {"smu.smu.measure.filter.enable": "smu.measure.filter.enable=smu.ON"}
LEVEL_TSP = {"smu.smu.source.output": "smu.source.level=0.3 smu.source.output=smu.ON"}
UNZEROED = {"smu.:SYSTem:AZERo[:STATe]": ":SYST:AZER 0"}
LEVEL = {"smu.:OUTPut[1][:STATe]": ":SOUR:VOLT 0.3;:OUTP 1"}
REL = {
    f"smu.smua.measure.rel.{part}": f"smua.measure.rel.{part}={1e-6 if part == 'leveli' else 1}"
    for part in ("leveli", "enablei")
}
DELAY = {"smu.smua.source.delay": "smua.source.delay=0.001"}
PROMPTS = {"smu.localnode.prompts": "localnode.prompts=1"}
OUTPUT = {"smu.smua.source.output": "smua.source.output=1"}
ONE_BY_ONE = {"matrix.channel.connectsequential": "channel.connectsequential=1"}
DELAYED = {"matrix.channel.setdelay": 'channel.setdelay("allslots",0.5)'}
LABEL = {"matrix.channel.setlabel": 'channel.setlabel("1H12","1A01")'}
QUEUE = {"matrix.errorqueue": 'channel.close("9Z99")'}
ONE_CHANNEL = {"matrix.[:ROUTe]:CONFigure:SCHannel": ":CONF:SCH 1"}
SINGLE = {"matrix.[:ROUTe]:CONNection:RULE": ":CONN:RULE 0,SROU"}
OTHER_DIE = {"prober.map:step_die": "map:step_die 1, 0"}


@pytest.mark.parametrize(
    ("family", "left", "owner", "method", "instead", "words"),
    [
        ("keithley2600b", REL, keithley2600b, "messages", trusting, "without what was left"),
        ("keithley2600b", DELAY, keithley2600b, "messages", trusting, "a read takes"),
        ("keithley2600b", PROMPTS, Tsp, "_refuse_chatter", lambda self: None, "name of the cause"),
        ("keithley2600b", OUTPUT, Keithley2600B, "emergency_off", lambda self: {}, "off: smu.smua"),
        ("keithley2400", FILTER, Scpi, "set", forgetful, "a read takes"),
        ("keithley2400", UNZEROED, Scpi, "set", forgetful, "a read takes"),
        ("keithley2400", LEVEL, keithley2400.Keithley2400, "emergency_off", lambda self: {}, "off: smu"),
        ("keithley2450", OHMS, Scpi, "set", forgetful, "name of the cause"),
        ("keithley2450", FILTER_2450, Scpi, "set", forgetful, "a read takes"),
        ("keithley2450", LEVEL, keithley2450.Keithley2450, "emergency_off", lambda self: {}, "off: smu"),
        ("keithley2450_tsp", FILTER_TSP, Keithley2450Tsp, "set_up", unset, "a read takes"),
        ("keithley2450_tsp", LEVEL_TSP, Keithley2450Tsp, "emergency_off", lambda self: {}, "off: smu"),
        ("keithley707b", ONE_BY_ONE, Keithley707B, "_settle_moves", lambda self: None, "a read takes"),
        ("keithley707b", DELAYED, Keithley707B, "_settle_moves", lambda self: None, "a read takes"),
        ("keithley707b", LABEL, Keithley707B, "unusable", lambda self, names: [], "name of the cause"),
        ("keithley707b", QUEUE, Tsp, "old_errors", lambda self: (), "name of the cause"),
        ("keithley7001", ONE_CHANNEL, Keithley7001, "_settle_moves", lambda self: None, "name of the cause"),
        ("keysightb2200", SINGLE, KeysightB2200, "_settle_moves", lambda self: None, "name of the cause"),
        ("mpi_sentio", OTHER_DIE, MpiSentio, "step", stay, "without what was left"),
    ],
)
def test_a_driver_that_trusts_what_it_meets_is_found_out(monkeypatch, family, left, owner, method, instead, words):
    assert course(family, left).violated == []
    monkeypatch.setattr(owner, method, instead)
    if owner is keithley2600b:
        monkeypatch.setattr(Keithley2600B, "_compare", lambda self, wanted: None)
    if method == "set":
        monkeypatch.setattr(ScpiSource, "_others", lambda self, plan: [])
    if left is QUEUE:  # what is not read when connecting is told apart from a command's own, too
        monkeypatch.setattr(Tsp, "failure", lambda self, waiting: "" if float(waiting) == 0 else "an error")
    assert words in " ".join(course(family, left).violated)


@pytest.mark.parametrize(
    ("family", "part", "owner", "method", "instead", "words"),
    [
        (
            "keysightm9615a", "smu.ch2.1150403", KeysightM9615A, "emergency_off", lambda self: {}, "off: smu.ch2 is on"
        ),
        ("keysightm9615a", "matrix.paths", NiSwitch, "emergency_open", lambda self: frozenset(), "off: matrix: r0/c1"),
        ("keithley7001", "matrix.relays", Keithley7001, "emergency_open", lambda self: frozenset(), "off: matrix: 1!"),
        (
            "keysightb2200", "matrix.bias mode", KeysightB2200, "emergency_open", lambda self: frozenset(),
            "off: matrix: 010"
        ),
    ],
)  # fmt: skip
def test_what_is_not_switched_off_is_found_out(monkeypatch, family, part, owner, method, instead, words):
    def off():
        start = Start(family, 10_000, clean=True)
        name, _, left = part.partition(".")
        assert start.emulated(name).leftovers()[left](Random(4)) is not None
        start.switch_off()
        return start.course.violated

    assert off() == []
    monkeypatch.setattr(owner, method, instead)
    assert words in " ".join(off())


def test_a_crosspoint_that_somebody_has_forbidden_is_refused_by_that_name_and_stays_forbidden():
    start = Start("keithley707b", 10_000, clean=True)
    start.twin.instruments["matrix"].execute('channel.setforbidden("1A01:1H05")')
    with pytest.raises(LabError, match="forbidden to close there"):
        start.measure()
    assert "1A01" in start.twin.instruments["matrix"].settings.forbidden


def test_a_matrix_whose_scan_is_running_is_refused_and_switching_off_ends_the_scan():
    start = Start("keithley707b", 10_000, clean=True)
    matrix = start.twin.instruments["matrix"]
    matrix.execute('scan.create("1A01,1B01") scan.scancount=1000 scan.background()')
    with pytest.raises(LabError, match="a scan is running there and moves relays by itself"):
        start.measure()
    start.switch_off()
    assert (start.course.violated, matrix.scan.running) == ([], False)
    assert start.measure().flag == (0, 0, 0)


def test_a_later_call_goes_on_from_the_results_and_a_violation_is_shown(tmp_path):
    calls, shown, path = [], [], tmp_path / "dirty.jsonl"

    def do(starts):
        calls.append(starts)
        for family, number in starts:
            text = ["off: smu.smua is 1 at 0.3 V, 0 A"] if number == 2 else []
            yield {"family": family, "number": number, "left": {"smu.busy": "x"}, "refusal": "", "violated": text}

    wanted = [("generic", number) for number in range(3)]
    script.carry_on(wanted[:2], path, do, shown.append)
    with path.open("a") as file:
        file.write('{"family": "gene')  # the call was killed while it wrote
    courses = script.carry_on(wanted, path, do, shown.append)
    assert calls == [wanted[:2], wanted[2:]]
    assert [one["number"] for one in courses] == [0, 1, 2]
    assert shown == ["generic 2, left {'smu.busy': 'x'}: off: smu.smua is 1 at 0.3 V, 0 A"]
    heading, line = script.table(courses)
    assert heading.split()[:2] == ["family", "starts"]
    assert line.split() == ["generic", "3", "2", "0", "0", "0", "1"]
