"""Faults of a list happen at their die and instrument, each once, over bytes and over sockets."""

import pytest

from instruments.bench import Bench
from labctl.core.errors import InstrumentError
from labctl.core.planned_fault import ON_THE_WAY, PlannedFault
from labctl.core.transport import Wait
from labctl.station.twin import Twin
from sim_backend.description import DieDescription
from sim_backend.faults.listed import ListedFaults
from sim_backend.make import make_die

BENCH = Bench.model_validate(
    {
        "name": "two",
        "instruments": {
            "smu": {"driver": "keithley2600b", "model": "2601B", "resource": "1"},
            "other": {"driver": "keithley2600b", "model": "2601B", "resource": "2"},
        },
        "wiring": {
            "pads": {"top": "smu.smua", "bottom": "other.smua"},
            "kernels": [{"rows": ["top"], "cols": ["bottom"]}],
        },
        "limits": {
            "v_towards_p": "0.7 V", "v_towards_ap": "0.7 V", "width": "10 ms", "compliance": "10 mA",
            "ramp_rate": "1000 V/s",
        },
    },
    context={"file": True},
)  # fmt: skip
"""Two sources on the needles of one cell; there is nothing that moves."""


class Wired:
    """A twin, the faults in it, and what was told of them."""

    def __init__(self, sim):
        self.told = []
        self.faults = ListedFaults(lambda fault, detail: self.told.append((fault.number, detail)))
        die = {"name": "D", "geometry": {"n_rows": 1, "n_cols": 1}, "junction": {"diameter": 80e-9}}
        made = make_die(DieDescription.model_validate(die), seed=1, name="A")
        self.twin = Twin(BENCH, {(0, 0, 0): made}, sockets=sim == "tcp", faults=self.faults)

    def link(self, name="smu"):
        return self.twin.connect(name, BENCH.instruments[name])


@pytest.fixture(params=["bytes", "tcp"])
def wired(request):
    wired = Wired(request.param)
    yield wired
    wired.twin.close()


def fault(kind, operation=ON_THE_WAY, after=0, number=1):
    return PlannedFault(number, kind, "A", "smu", operation, after)


def test_a_fault_happens_to_the_message_of_its_turn_and_to_no_other(wired):
    wired.faults.expect([fault("connection closed after", operation=1, after=2)])
    link, other = wired.link(), wired.link("other")
    assert [link.query(f"print({k})") for k in range(3)] == ["0.00000e+00", "1.00000e+00", "2.00000e+00"]
    wired.twin.seek((0, 0, 0), 2)
    assert [link.query("print(3)"), link.query("print(4)")] == ["3.00000e+00", "4.00000e+00"]
    assert other.query("print(5)") == "5.00000e+00"
    with pytest.raises(InstrumentError):
        link.query("print(6)")
    assert wired.told == [(1, "at 'print(6)'")]
    assert link.query("print(7)") == "7.00000e+00"
    for one in (link, other):
        one.close()


def test_a_power_cycle_forgets_everything_and_switches_off(wired):
    link = wired.link()
    link.query("x=5 smua.source.levelv=0.1 smua.source.output=1 print(x)")
    assert wired.twin.world.settle().line_voltage
    wired.faults.expect([fault("power cycle, link lost")])
    with pytest.raises(InstrumentError):
        link.query("print(x)")
    assert link.query("print(x, smua.source.output)") == "nil\t0.00000e+00"
    assert not any(volts.any() for volts in wired.twin.world.settle().line_voltage.values())
    link.close()


def test_of_several_faults_one_that_never_applies_keeps_no_other_from_happening(wired):
    wired.faults.expect([fault("relays stuck"), fault("error queued after", number=2)])
    link = wired.link()
    assert [link.query("print(errorqueue.count)") for _ in range(5)][-1] == "1.00000e+00"
    assert [number for number, _ in wired.told] == [2]
    link.close()


def test_faults_of_the_die_before_do_not_happen_to_the_next():
    wired = Wired("bytes")
    wired.faults.expect([fault("reply lost")])
    wired.faults.expect([])
    assert wired.link().query("print(1)") == "1.00000e+00"


def test_a_reply_that_does_not_come_takes_its_time_on_the_clock_of_the_twin():
    wired = Wired("bytes")
    wired.faults.expect([fault("reply lost")])
    link, before = wired.link(), wired.twin.world.now
    with pytest.raises(InstrumentError, match="did not answer"):
        link.query("print(1)", wait=Wait.MEASURE)
    assert wired.twin.world.now - before == pytest.approx(5.0, abs=0.2)
