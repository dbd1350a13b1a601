"""An instrument of the bench file has the keys that its driver declares, ours or a stranger's."""

import json
import pickle
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from instruments.bench import Bench
from instruments.drivers import InPlace, driver_of, visa
from instruments.entry import UNUSABLE, Entry
from instruments.open_bench import planned_die
from instruments.transcript import TranscriptReplay
from labctl import files
from labctl.core import plugins
from labctl.core.bias import Nominal
from labctl.core.driver import Driver, DriverKind, Wire, declared
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.model import Model
from labctl.core.plugins import INSTRUMENTS
from labctl.core.source import SourceCapabilities
from labctl.core.units import Volt

EXAMPLE = Path(__file__).parents[3] / "examples" / "bench-2600b-707b-sentio.yaml"
TEXT = EXAMPLE.read_text(encoding="utf-8")
MATRIX = "    driver: keithley707b\n    model: 707B\n    resource: TCPIP::192.0.2.20::5025::SOCKET\n"
SECOND = "    driver: keithley2600b\n    model: 2602B\n    resource: TCPIP::192.0.2.12::5025::SOCKET\n"
made = []


class CardOptions(Model):
    slot: str
    channels: tuple[str, ...] = ("smua", "smub")
    most: Volt = 1.0
    careful: bool = True


class Card:
    """A source on a card, which brings its own connection."""

    def __init__(self, name, options, inside=None):
        made.append(name)
        self.name, self.options, self.inside = name, options, inside
        if options.slot == "PXI1Slot9":
            raise FloatingPointError("no chassis")


def card_capabilities(options):
    if options.slot == "PXI1Slot8":
        raise KeyError("PXI1Slot8")
    if options.slot == "PXI1Slot7":
        return None
    return SourceCapabilities("card", options.channels, (options.most,), (1e-3, 1e-2), 1e-3, (1e-4, 1.0))


CARD = Driver(
    DriverKind.SOURCE,
    Card,
    CardOptions,
    Wire.NONE,
    capabilities=card_capabilities,
    location=lambda options: options.slot,
)


class Clash(Model):
    resource: int = 1


ODD_PULSES = Driver(DriverKind.PULSES, Card, pulses=lambda options: "fast")
FAILING_PULSES = Driver(DriverKind.PULSES, Card, pulses=lambda options: 1 / 0)
CLASH = Driver(DriverKind.MATRIX, Card, Clash, scheme=lambda options: lambda row, column: f"{row}{column}")


@pytest.fixture(autouse=True)
def cards(register):
    made.clear()
    here = "tests.unit.instruments.test_entry"
    register(INSTRUMENTS, {"card": f"{here}:CARD", "clash": f"{here}:CLASH", "gone": f"{here}:GONE"})


def read(tmp_path, old, new, **options):
    file = tmp_path / "bench.yaml"
    assert old in TEXT
    file.write_text(TEXT.replace(old, new), encoding="utf-8")
    return files.load(file, Bench, **options)


def card(**keys):
    return "".join(f"    {key}: {value}\n" for key, value in {"driver": "card", "slot": "PXI1Slot5", **keys}.items())


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (card(slto="x"), r"bench.yaml:\d+: instruments.smu2.slto: found the unknown key 'slto'; did you mean 'slot'\?"),
        (card(most="3"), r"instruments.smu2.most: found .*3.*, expected a quantity such as 450 mV|no unit"),
        (card(careful="'no'"), r"instruments.smu2.careful: found 'no', expected true or false"),
        (card(resource="x"), "instruments.smu2.resource: found the unknown key 'resource'"),
        ("    driver: card\n", "instruments.smu2: the key 'slot' is missing"),
        ("    slot: PXI1Slot5\n", "instruments.smu2: the key 'driver' is missing: one of .*keithley2600b"),
        (card(slot="PXI1Slot8"), "instruments.smu2: driver 'card' failed to tell its capabilities: KeyError"),
        (card(slot="PXI1Slot7"), "the capabilities of driver 'card' are None; expected SourceCapabilities"),
        (card(channels="[smua]"), "smu2 has no channel 'smub'; it has smua"),
        (card(patience="-1 s"), "instruments.smu2.patience: found '-1 s', expected at least 0 s"),
        ("    driver: clash\n    resource: x\n", "names its options resource, which are keys of every entry"),
        ("    driver: gone\n    resource: x\n", r"driver 'gone' of lab-things 1.0 .* cannot be loaded: AttributeError"),
        ("    driver: crad\n    resource: x\n", r"driver 'crad' is not installed .*; did you mean 'card'\?"),
        ("    driver: 7\n    resource: x\n", "instruments.smu2.driver: found 7, expected a text"),
    ],
)
def test_what_is_wrong_in_an_entry_is_refused_with_its_place(tmp_path, entry, words):
    with pytest.raises(BenchError, match=words):
        read(tmp_path, SECOND, entry)


def test_all_faults_of_an_entry_are_reported_at_once(tmp_path):
    with pytest.raises(BenchError) as caught:
        read(tmp_path, MATRIX, "    driver: keithley707b\n    model: 707C\n    backend: 7\n    deadlines: {query: 1}\n")
    text = str(caught.value)
    for words in ("707C", "matrix.backend", "deadlines.query", "the key 'resource' is missing"):
        assert words in text


def test_a_driver_without_a_wire_has_name_and_options_and_is_made_when_the_bench_is_connected(tmp_path):
    bench = read(tmp_path, SECOND, card(most="2 V"))
    entry = bench.instruments["smu2"]
    assert entry.options == CardOptions(slot="PXI1Slot5", most=2.0)
    assert entry.address is None
    assert entry.resource == "PXI1Slot5"
    planned_die(bench, Nominal.alike(4e-4, 2e-4, 1))
    assert made == []
    driver = driver_of("smu2", entry, visa(), None)
    assert (driver.options, driver.inside) == (entry.options, None)
    assert made == ["smu2"]
    assert driver_of("smu2", entry, lambda name, entry: "a vendor's library", None).inside == "a vendor's library"
    assert driver_of("smu2", entry, lambda name, entry: InPlace("a stand-in"), None) == "a stand-in"
    broken = read(tmp_path, SECOND, card(slot="PXI1Slot9")).instruments["smu2"]
    with pytest.raises(InstrumentError, match=r"smu2: its driver 'card', .* when it was made: FloatingPointError"):
        driver_of("smu2", broken, lambda name, entry: None, None)


def test_two_entries_of_one_card_are_refused(tmp_path):
    with pytest.raises(BenchError, match="smu2 and smu3 have the same address PXI1Slot5"):
        read(tmp_path, SECOND, card() + "  smu3:\n" + card())


def test_a_bench_goes_through_json_and_to_other_processes(tmp_path):
    bench = read(tmp_path, SECOND, card())
    assert pickle.loads(pickle.dumps(bench)) == bench
    assert Bench.model_validate(json.loads(bench.model_dump_json())) == bench


def test_the_schema_has_the_options_of_every_driver_that_can_be_loaded():
    schema = files.schema(Bench)
    Draft202012Validator.check_schema(schema)
    assert {"card", "keithley2600b", "keithley707b", "mpi_sentio", "manual_prober"} <= set(schema["$defs"])
    assert not {"gone", "clash"} & set(schema["$defs"])
    assert {"driver", "slot", "most", "patience"} <= set(schema["$defs"]["card"]["properties"])
    assert "resource" not in schema["$defs"]["card"]["properties"]
    assert "resource" in schema["$defs"]["keithley2600b"]["properties"]


def needs_nothing(declaration):
    return not any(field.is_required() for field in declaration.options.model_fields.values())


OURS = [declared(p.name)[0] for p in plugins.registered(INSTRUMENTS) if not p.foreign]


@pytest.mark.parametrize("declaration", [d for d in OURS if d.kind is DriverKind.SOURCE and needs_nothing(d)])
def test_a_driver_of_ours_has_the_capabilities_that_it_declares(declaration):
    options = declaration.options()
    driver = declaration.make("it", options, TranscriptReplay([], "it"))
    assert driver.capabilities == declaration.capabilities(options)


@pytest.mark.parametrize("declaration", [d for d in OURS if d.kind is DriverKind.PULSES])
def test_a_pulse_source_of_ours_has_the_capabilities_that_it_declares(declaration):
    options = declaration.options()
    assert declaration.make("it", options, TranscriptReplay([], "it")).capabilities == declaration.pulses(options)


def test_capabilities_of_a_pulse_source_are_those_of_one(register):
    here = "tests.unit.instruments.test_entry"
    register(INSTRUMENTS, {"odd": f"{here}:ODD_PULSES", "failing": f"{here}:FAILING_PULSES"})
    for driver, words in (("odd", "the pulses of driver 'odd' are 'fast'"), ("failing", "failed to tell its capabil")):
        with pytest.raises(ValidationError, match=words):
            Entry.model_validate({"driver": driver, "resource": "1"})
    with pytest.raises(BenchError, match="the pulses of driver 'keithley707b' are None; expected PulseCapabilities"):
        _ = Entry.model_validate({"driver": "keithley707b", "resource": "1"}).pulses


IN_BYTES = Driver(DriverKind.MATRIX, Card, wire=Wire.BINARY, scheme=lambda options: lambda row, column: row + column)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"resource": "ASRL1::INSTR"}, "driver 'bytes' speaks in bytes, not in lines; a serial line does not carry"),
        ({"resource": "GPIB::7", "gateway": "TCPIP::192.0.2.30::1234::SOCKET"}, "in bytes, not in lines; a GPIB, thr"),
    ],
)
def test_a_driver_of_bytes_is_refused_where_lines_are_carried_and_the_others_are_made_safe(register, keys, words):
    register(INSTRUMENTS, {"bytes": "tests.unit.instruments.test_entry:IN_BYTES"})
    with pytest.raises(ValidationError, match=words):
        Entry.model_validate({"driver": "bytes", **keys})
    kept = Entry.model_validate({"driver": "bytes", **keys}, context={UNUSABLE: True})
    assert words[:30] in kept.fault
    assert kept.address is not None
    assert not Entry.model_validate({"driver": "bytes", "resource": "TCPIP::192.0.2.7::5025::SOCKET"}).fault


def test_a_model_in_digits_is_answered_with_the_models_that_there_are(tmp_path):
    path = tmp_path / "bench.yaml"
    path.write_text(TEXT.replace("model: 2602B", "model: 2602"), encoding="utf-8")
    with pytest.raises(BenchError, match=r":\d+: instruments\.\w+\.model: found 2602, expected a text, one of 2601B, "):
        files.read(path, Bench)


@pytest.mark.parametrize("due", ["soon", "31.3.2027", "2027-02-30", "7 V", "[2027]"])
def test_a_day_that_is_none_is_answered_with_one(tmp_path, due):
    path = tmp_path / "bench.yaml"
    path.write_text(TEXT.replace(SECOND, f"{SECOND}    calibration: {{due: {due}}}\n"), encoding="utf-8")
    with pytest.raises(
        BenchError, match=r":\d+: instruments\.\w+\.calibration\.due: found .*, expected a date such as"
    ):
        files.read(path, Bench)
