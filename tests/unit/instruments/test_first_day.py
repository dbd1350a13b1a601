"""What is assumed of instruments is asked of them: it holds on the twin, and one that is otherwise is named."""

from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from instruments.bench_file import read_bench
from instruments.first_day import CHECKS, Verdict, first_day
from labctl.core.errors import InstrumentError, LinkTimeoutError
from labctl.station.twin import Twin
from tests.unit.instruments.test_probed_die import bench as bench_of_four
from tests.unit.instruments.test_probed_die import simulated

EXAMPLES = Path(__file__).parents[3] / "examples"
SET = {"prompts", "own-timer", "label-like-a-channel", "relay-rules", "stepping-mode", "two-messages"}

ELSEWHERE = {
    "unknown-channel": ("bench-2450-b2200a.yaml", "matrix", "(@00100)", '0;0,"No error"'),
    "card-types": ("bench-2600b-7002.yaml", "matrix", ":CTYP?", ";".join(["C7012"] * 9 + ["CARD"])),
    "flex-learn": ("bench-b1500a-7002.yaml", "smu", "*LRN? 53", "CL"),
    "velox-heights": ("bench-2600b-707b-velox.yaml", "prober", "ReadChuckPosition", "Rsp=0:0:0 0 12000"),
}
"""Checks of drivers that are on no one bench with the others: an example, and an instrument that is otherwise."""


def bench():
    """Return a bench with an instrument of every other driver that has checks."""
    return bench_of_four(instruments__smu3={"driver": "keithley2400", "resource": "5"})


@pytest.fixture(scope="module")
def twin():
    made = Twin(bench(), {(0, 0, 0): simulated()})
    yield made
    made.close()


def findings(twin, connect=None, **options):
    return first_day(bench(), clock=lambda: twin.world.clock.now, connect=connect or twin.connect, **options)


def of(made, id, instrument):
    (one,) = (one for one in made if (one.id, one.instrument) == (id, instrument))
    return one


def state(twin):
    smu, matrix, prober = (twin.instruments[name] for name in ("smu1", "matrix", "prober"))
    set_ = "smua.source.output,smua.source.levelv,smua.source.limiti,smua.measure.nplc,localnode.prompts"
    rules = 'channel.getclose("allslots"),channel.connectsequential,channel.connectrule'
    return [
        smu.execute(f"print({set_},errorqueue.count)"),
        matrix.execute(f"print({rules},errorqueue.count)"),
        prober.execute("get_chuck_z Z"),
        twin.world.ledger.relay_operations,
    ]


def test_on_the_twin_all_that_can_be_read_holds_and_nothing_is_changed(twin):
    before = state(twin)
    made = findings(twin)
    assert state(twin) == before
    assert [one for one in made if one.verdict is Verdict.FAILS] == []
    held = {one.id for one in made if one.verdict is Verdict.HOLDS}
    assert set(CHECKS) - held == {
        "closed-list",
        "die-and-axes",
        *ELSEWHERE,
        *SET,
    }  # nothing is closed, and no die under the needles
    assert of(made, "message-latency", "smu2").reply == "0.001 s"
    left = of(made, "ramp-rate", "")
    assert (left.verdict, left.expected, left.step) == (Verdict.OPEN, "ramp_rate 1000 V/s", "3.4")
    assert of(made, "relay-rules", "matrix").reply == "sets something: --settings"
    assert of(made, "noise", "smu1, smu2, smu3").reply == "needs an output: --energise"
    assert of(made, "output-relay", "").expected == "output_relay 0.001 s"
    assert not [one for one in findings(twin, energise=True) if one.reply == "needs an output: --energise"]


def test_what_sets_something_is_checked_where_it_is_asked_for(twin):
    made = findings(twin, settings=True)
    assert of(made, "relay-rules", "matrix").verdict is Verdict.HOLDS
    label = of(made, "label-like-a-channel", "matrix")
    assert label.verdict is Verdict.HOLDS
    assert "1A02, the label of 1A01 for a moment, stands for 1A01; label afterwards: 1A01" in label.reply
    assert of(made, "stepping-mode", "prober").verdict is Verdict.HOLDS
    assert of(made, "two-messages", "smu3").verdict is Verdict.HOLDS


OTHERWISE = {
    "number-format": ("smu1", "print(2)", "two"),
    "longest-line": ("matrix", " print(", LinkTimeoutError("no answer")),
    "protected-call": ("smu1", "mtj_no_such_part", "true\t1"),
    "prompts": ("smu1", "localnode.prompts=1", "prompted"),
    "own-timer": ("smu1", "mtj_wait(0.05)", "0.0\tdone-99"),
    "measure-overhead": ("smu2", "timer.reset() for", "2.0,60,1,0,1,0"),
    "output-enable-known": ("smu2", "outputenableaction", "1\tnil"),
    "line-frequency": ("smu1", '"%.9e",localnode.linefreq)', "4.000000000e+02"),
    "range-answer": ("smu3", ":SENS:CURR:RANG?", "+3.000000E-04"),
    "two-messages": ("smu3", ":FORM:DATA ASC\n", '-102,"Syntax error"'),
    "card-identity": ("matrix", "print(slot[1] and slot[1].idn)", "7174A"),
    "closed-list": ("matrix", 'print(channel.getclose("allslots"))', "1A1 2B2"),
    "channel-lists": ("matrix", "getdelay", "0.0,0.0"),
    "label-like-a-channel": ("matrix", 'getimage("1A02")', "1H12"),
    "relay-rules": ("matrix", 'string.format("%.9e,%.9e",channel', "1,1"),
    "chuck-heights": ("prober", "get_chuck_z Z", "0,0,14870.0"),
    "die-and-axes": ("prober", "map:get_index_size", "0,0,wide"),
    "overtravel": ("prober", "get_chuck_site_heights", "0,0,15000,250,90,50"),
    "stepping-mode": ("prober", "set_stepping_contact_mode", "3,0,Unknown"),
}


class Replying:
    """A wire on which one query is answered otherwise."""

    def __init__(self, transport, query, reply):
        self._inner, self._query, self._reply = transport, query, reply

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def converse(self, text, last, **options):
        if self._query not in text:
            return self._inner.converse(text, last, **options)
        return [self._reply]

    def query(self, text, **options):
        if self._query not in text:
            return self._inner.query(text, **options)
        if isinstance(self._reply, Exception):
            raise self._reply
        return self._reply


@pytest.mark.parametrize("id", OTHERWISE)
def test_an_instrument_that_is_otherwise_does_not_hold(twin, id):
    name, query, reply = OTHERWISE[id]

    def connect(wanted, entry):
        wire = twin.connect(wanted, entry)
        return Replying(wire, query, reply) if wanted == name else wire

    one = SimpleNamespace(instruments={name: bench().instruments[name]})
    made = first_day(one, clock=lambda: 0.0, connect=connect, settings=True)
    assert of(made, id, name).verdict is Verdict.FAILS
    assert {finding.id for finding in made if finding.verdict is Verdict.FAILS} == {id}


@pytest.mark.parametrize("id", ELSEWHERE)
def test_a_check_of_another_bench_holds_on_its_twin_and_not_on_an_instrument_that_is_otherwise(id):
    file, name, query, reply = ELSEWHERE[id]
    made = read_bench(EXAMPLES / file).value
    twin = Twin(made, {(0, 0, 0): simulated()})
    one = SimpleNamespace(instruments={name: made.instruments[name]})
    assert of(first_day(one, clock=lambda: 0.0, connect=twin.connect), id, name).verdict is Verdict.HOLDS

    def connect(wanted, entry):
        return Replying(twin.connect(wanted, entry), query, reply)

    assert of(first_day(one, clock=lambda: 0.0, connect=connect), id, name).verdict is Verdict.FAILS


def test_every_check_is_seen_to_fail():
    assert set(OTHERWISE) | set(ELSEWHERE) | {"message-latency"} == set(CHECKS)


def test_a_slow_wire_does_not_hold(twin):
    ticks = count(0.0, 2e-3)
    slow = of(first_day(bench(), clock=lambda: next(ticks), connect=twin.connect), "message-latency", "smu1")
    assert (slow.verdict, slow.reply) == (Verdict.FAILS, "0.002 s")


def test_a_list_of_crosspoints_holds_once_something_is_closed(twin):
    twin.instruments["matrix"].execute('channel.close("1A01,2B02")')
    closed = of(findings(twin), "closed-list", "matrix")
    twin.instruments["matrix"].execute('channel.open("allslots")')
    assert (closed.verdict, closed.reply) == (Verdict.HOLDS, "1A01;2B02")


@pytest.mark.parametrize("error", [InstrumentError("nobody is there"), KeyError("a bug")])
def test_an_instrument_that_does_not_answer_is_not_checked(twin, error):
    def connect(wanted, entry):
        if wanted == "smu1":
            raise error
        return twin.connect(wanted, entry)

    made = [one for one in findings(twin, connect) if one.instrument == "smu1"]
    assert made
    assert {one.verdict for one in made} == {Verdict.OPEN}
    assert all(str(error) in one.reply for one in made)
