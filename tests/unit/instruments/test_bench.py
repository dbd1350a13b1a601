"""A bench file says everything, with units, and nothing twice."""

import copy
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from instruments.bench import Bench
from instruments.open_bench import open_bench, planned_die
from instruments.transcript import TranscriptReplay
from labctl.core.bias import Geometry, Nominal
from labctl.core.errors import BenchError, InstrumentError

EXAMPLE = Path(__file__).parents[3] / "examples" / "bench-2600b-707b-sentio.yaml"
NOMINAL = Nominal.alike(4e-4, 2e-4, 1)


def data():
    return yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))


def read(values):
    return Bench.model_validate(values, context={"file": True})


def test_the_example_is_a_bench_for_a_passive_array_of_15_by_15():
    bench = read(data())
    assert bench.geometry() == Geometry(1, 15, 15)
    assert [e.kind for e in bench.instruments.values()] == ["source", "source", "matrix", "prober"]
    assert bench.instruments["prober"].options.overtravel_ceiling == pytest.approx(60e-6)
    assert bench.limits.ramp_rate == 1000.0
    assert bench.limits.span == 1.0
    assert list(bench.wiring.channels) == ["smu1.smua", "smu1.smub", "smu2.smua", "smu2.smub"]


def put(values, path, value):
    *way, last = path.split("/")
    for key in way:
        values = values[key]
    if value is None:
        del values[last]
    else:
        values[last] = value


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("version", 2, "found version 2 of bench files, this labctl reads 1"),
        ("limits/v_towards_p", 1.0, "bare number 1.0 has no unit"),
        ("limits/ramp_rate", "10 V", "'V' is not a unit of V/s"),
        ("limits/v_towards_ap", None, "Field required"),
        ("limits/compliance", "0 A", "greater than 0"),
        ("limits/v_towards_p", "60 V", "less than or equal to 50"),
        ("limits/v_towards_ap", "60 V", "less than or equal to 50"),
        ("limits/width", "2 h", "less than or equal to 3600"),
        ("limits/compliance", "200 A", "less than or equal to 100"),
        ("contact/voltage", "50 mV", "less than or equal to 0.015"),
        ("contact/voltage", "16 mV", "less than or equal to 0.015"),
        ("contact/landing", "floating", "'grounded' or 'open'"),
        ("contact/limit", "1 mA", "less than or equal to 0.0001"),
        ("contact/structures", [["r0", "nowhere"]], "pad 'nowhere' of a contact structure"),
        ("instruments/smu1/model", "2400", "keithley2600b: model '2400' is not one of 2601B"),
        ("instruments/smu1/modle", "2602B", "Extra inputs"),
        ("instruments/smu2/resource", "TCPIP::192.0.2.11::5025::SOCKET", "smu1 and smu2 have the same address"),
        ("instruments/smu1", {"driver": "keithley2600b", "model": "2601B", "resource": "x"}, "no channel 'smub'"),
        ("instruments/smu2", None, "there is no instrument 'smu2'"),
        ("instruments/hand", {"driver": "manual_prober"}, "prober and hand are each a prober; a bench has one"),
        ("instruments/prober/overtravel_ceiling", None, "Field required"),
        ("instruments/prober/overtravel_ceiling", 60, "bare number"),
        ("outputs/relay_limit", "1 A", "relay_limit is above the compliance limit"),
        ("wiring/channels/smu2.smub", "C", "smu2.smua and smu2.smub are both on matrix row C"),
        ("wiring/channels/matrix.x", "E", "matrix is no source but a matrix"),
    ],
)
def test_what_is_wrong_in_a_bench_file_is_said_in_words(path, value, words):
    values = data()
    put(values, path, value)
    with pytest.raises(ValidationError, match=words):
        read(values)


def test_the_interlock_line_is_only_asked_for_where_it_can_be_ignored():
    values = data()
    put(values, "instruments/smu1/output_enable", True)
    assert read(values).instruments["smu1"].options.output_enable
    put(values, "instruments/smu1/model", "2636B")
    with pytest.raises(ValidationError, match="interlock of a 2636B always acts"):
        read(values)


def test_a_bench_is_planned_with_and_nothing_is_connected():
    die = planned_die(read(data()), NOMINAL, polarity=-1)
    assert die.geometry == Geometry(1, 15, 15, polarity=-1)
    with pytest.raises(InstrumentError, match="smu1 is not connected"):
        die.verify_off()


def test_what_was_connected_is_closed_again_when_one_does_not_answer():
    closed = []

    class Wire(TranscriptReplay):
        def close(self):
            closed.append(self.name)

    def connect(name, entry):
        if name == "matrix":
            raise InstrumentError("matrix does not answer")
        return Wire([], name)

    with pytest.raises(InstrumentError, match="matrix does not answer"):
        open_bench(read(data()), NOMINAL, connect=connect)
    assert closed == ["smu1", "smu2"]


def test_a_driver_that_is_not_installed_is_named_with_those_that_are():
    values = copy.deepcopy(data())
    values["instruments"]["lamp"] = {"driver": "acme_lamp", "resource": "COM1"}
    with pytest.raises(ValidationError, match=r"driver 'acme_lamp' is not installed .*; there are generic_matrix"):
        read(values)


def test_a_manual_prober_needs_somebody_to_ask():
    values = data()
    values["instruments"]["prober"] = {"driver": "manual_prober"}
    bench = read(values)
    assert bench.instruments["prober"].resource is None
    with pytest.raises(BenchError, match="no operator to ask"):
        open_bench(bench, NOMINAL, connect=lambda name, entry: TranscriptReplay([], name))


def test_a_copy_with_other_wires_has_connections_of_its_own():
    bench = read(data())
    assert bench.connections is bench.connections
    assert bench.connections.ground == 4
    channels = {"smu1.smua": ("A",), "smu1.smub": ("B",)}
    copy_ = bench.model_copy(update={"wiring": bench.wiring.model_copy(update={"channels": channels})})
    assert copy_.connections.ground == 2
    assert bench.connections.ground == 4
