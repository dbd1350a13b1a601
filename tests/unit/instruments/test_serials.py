"""An instrument is known by its serial number, however its identity says it."""

import pytest

from instruments.serials import mismatch, require_serials, serial_of
from labctl.core.errors import BenchError
from tests.unit.instruments.test_probed_die import NOMINAL, Twin, bench


@pytest.mark.parametrize(
    ("identity", "serial"),
    [
        ("Keithley Instruments Inc., Model 2602B, 4000001, 3.2.2", "4000001"),
        ("KEITHLEY INSTRUMENTS,MODEL 2450,04012345,1.7.12b", "04012345"),
        ('"ACME","SMU-7","SN 12-A","1.0"', "12-A"),
        ("ACME,SMU-7,S/N: 12-A,1.0", "12-A"),
        ("ACME;SMU-7;Serial No. 12-A;1.0", "12-A"),
        ("Keithley Instruments, Inc., Model 2602B, 1234567, 3.4.0", "1234567"),
        ("Keithley Instruments, Inc., 2602B, 1234567, 3.4.0", "1234567"),
        ("ACME Corp., Ltd., SMU, 12-A, 1.0, build 3", "12-A"),
        ("Tektronix Model 2602B, 1234567, 3.4.0", "1234567"),
        ("ACME,SMU-7,NOVA12,1.0", "NOVA12"),
        ("ACME,SMU-7,SN,1.0", "SN"),
        ("ACME,SMU-7,0,1.0", None),
        ("ACME,SMU-7,,1.0", None),
        ("SENTIO 25.1.0", None),
        ("", None),
    ],
)
def test_serial_numbers_are_read_from_identities_of_many_forms(identity, serial):
    assert serial_of(identity) == serial


def test_they_are_compared_as_texts():
    assert mismatch(None, "anything") == ""
    assert mismatch("12", "a,b,12,1") == ""
    assert mismatch("012", "a,b,12,1") == "the bench file pins serial number 012, and 12 answers"
    assert mismatch("12", "a,b") == "the bench file pins serial number 12, and 'a,b' has none"


def pinned(serial):
    return bench(instruments__smu2__serial=serial)


def test_another_instrument_at_an_address_is_refused_before_anything_is_changed():
    file = pinned("7")
    with pytest.raises(
        BenchError, match=r"smu2: the bench file pins serial number 7, and 4000001 answers; nothing was"
    ):
        Twin(file)
    identities = {"smu2": "a,b,7,1", "smu1": "a,b,8,1"}
    require_serials(file, identities)
    assert Twin(pinned("4000001")).open.identities["smu2"].split(", ")[2] == "4000001"
    assert file.instruments["smu2"].model_dump()["serial"] == "7"
    assert NOMINAL
