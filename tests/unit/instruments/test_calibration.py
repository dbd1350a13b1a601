"""What is known of the calibration of instruments: from themselves, and from the bench file."""

from datetime import date

import pytest
from pydantic import ValidationError

from instruments.calibration import Certificate, calibration_text
from instruments.check_bench import check_bench
from instruments.keithley2600b import Keithley2600B
from instruments.open_bench import open_bench
from instruments.transcript import TranscriptReplay
from labctl.core.driver import Calibrated, Calibration
from tests.unit.instruments.test_probed_die import NOMINAL, Twin, bench

TODAY = date(2026, 11, 30)
DAY = 86400.0
SECONDS_1_MARCH_2026 = 1772323200.0


class Dated:
    """An instrument that keeps what it was given."""

    def __init__(self, **dates: Calibration) -> None:
        self.dates = dates

    def calibration(self) -> dict[str, Calibration]:
        return self.dates


@pytest.mark.parametrize(
    ("driver", "papers", "text"),
    [
        (object(), None, ""),
        (Dated(), None, ""),
        (Dated(smua=Calibration()), None, ""),
        (Dated(smua=Calibration(date(2026, 3, 1))), None, "smua calibrated 2026-03-01"),
        (
            Dated(smua=Calibration(date(2025, 3, 1), date(2026, 3, 1)), smub=Calibration(due=TODAY)),
            None,
            "smua calibrated 2025-03-01, due 2026-03-01, OVERDUE; smub due 2026-11-30",
        ),
        (object(), Certificate(certificate="K-7 of Example"), "certificate K-7 of Example"),
        (object(), Certificate(due=date(2026, 11, 29)), "by the bench file, due 2026-11-29, OVERDUE"),
        (
            Dated(**{"": Calibration(date(2026, 3, 1))}),
            Certificate(certificate="K-7", due=date(2027, 3, 31)),
            "calibrated 2026-03-01; certificate K-7, due 2027-03-31",
        ),
    ],
)
def test_what_is_known_in_one_line(driver, papers, text):
    assert calibration_text(driver, papers, TODAY) == text


@pytest.mark.parametrize("keys", [{}, {"certificate": ""}, {"certificate": "a\nb"}, {"due": "soon"}, {"number": "7"}])
def test_papers_that_say_nothing_or_no_date_are_refused(keys):
    with pytest.raises(ValidationError):
        Certificate.model_validate(keys)


def test_a_2600b_is_asked_in_a_call_that_no_edition_of_its_firmware_fails():
    def asked(channel: str) -> str:
        text = '(function(k,d,u) return string.format("%.0f,%.0f",k and d or 0,k and u or 0) end)'
        return f"print({text}(pcall(function() return {channel}.cal.date,{channel}.cal.due end)))"

    talk = [(">", asked("smua")), ("<", "1772323200,1803859200"), (">", asked("smub")), ("<", "0,0")]
    with TranscriptReplay(talk) as wire:
        smu = Keithley2600B(wire, "smu1")
        assert isinstance(smu, Calibrated)
        assert smu.calibration() == {"smua": Calibration(date(2026, 3, 1), date(2027, 3, 1)), "smub": Calibration()}


def test_check_lists_it_and_an_open_bench_has_it():
    papers = {"certificate": "K-7", "due": "2026-12-31"}
    file = bench(instruments__matrix__calibration=papers)
    assert file.instruments["matrix"].model_dump(mode="json")["calibration"] == papers
    twin = Twin(file)
    assert twin.open.calibrations["matrix"].startswith("certificate K-7, due 2026-12-31")
    assert "smu1" not in twin.open.calibrations, "an emulated one has no dates"
    twin.open.close()
    smu = twin.instruments["smu1"]
    smu.channels["smua"].calibrated |= {"date": SECONDS_1_MARCH_2026, "due": SECONDS_1_MARCH_2026 + 365 * DAY}
    states = {one.name: one for one in check_bench(file, connect=twin.connect, today=lambda: date(2027, 3, 2))}
    assert "calibration: smua calibrated 2026-03-01, due 2027-03-01, OVERDUE" in states["smu1"].state
    assert states["smu1"].wrong == ()
    assert "calibration: certificate K-7, due 2026-12-31, OVERDUE" in states["matrix"].state
    opened = open_bench(file, NOMINAL, connect=twin.connect, today=lambda: TODAY)
    assert opened.calibrations["smu1"] == "smua calibrated 2026-03-01, due 2027-03-01"
    opened.close()
