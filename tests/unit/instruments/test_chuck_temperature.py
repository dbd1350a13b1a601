"""A chuck is waited for until it has stayed at its temperature, and no longer than the patience that it has."""

from dataclasses import dataclass, field

import pytest

from instruments.chuck_temperature import POLL, ThermoOptions, settle
from labctl.core.errors import InstrumentError

OPTIONS = ThermoOptions(hottest=400.0, soak=20.0, heating_patience=100.0)


@dataclass
class Chuck:
    """A chuck that reads one temperature after the other, and the last one for ever."""

    readings: list
    setpoint: float = 298.0
    takes: bool = True
    trouble: str = ""
    name: str = "prober"
    set: list = field(default_factory=list)

    def chuck_temperature(self):
        return self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]

    def chuck_setpoint(self):
        return self.setpoint

    def set_chuck(self, temperature):
        self.set.append(temperature)
        self.setpoint = temperature if self.takes else self.setpoint

    def chuck_trouble(self):
        return self.trouble


def settled(chuck, target=358.0, go_on=lambda: None):
    waits = []
    return settle(chuck, target, OPTIONS, waits.append, go_on), sum(waits)


def test_an_excursion_during_the_soak_begins_it_anew():
    reached, waited = settled(Chuck([298.0, 358.3, 358.2, 359.0, 358.1, 358.0]))
    assert (reached.began, reached.temperature) == (298.0, 358.0)
    assert waited == 4 * POLL + 20.0


def test_a_chuck_that_is_there_is_not_set_and_not_waited_for():
    chuck = Chuck([358.2], setpoint=358.0)
    assert settled(chuck)[1] == 0.0
    assert chuck.set == []


@pytest.mark.parametrize(
    ("chuck", "words"),
    [
        (Chuck([298.0], takes=False), "was set to 358 K, and is set to 298 K"),
        (Chuck([298.0, 330.0]), "at 330.00 K after 100 s, set to 358 K with 0.5 K of tolerance for 20 s"),
        (Chuck([298.0], trouble="the thermo chuck is in the state 'error'"), "in the state 'error', at 298.00 K"),
    ],
    ids=["not taken", "too slow", "in trouble"],
)
def test_a_chuck_that_does_not_come_to_its_temperature_is_an_error(chuck, words):
    with pytest.raises(InstrumentError, match=words):
        settled(chuck)


def test_a_bench_that_is_switched_off_ends_the_wait():
    looks = []

    def go_on():
        looks.append("latch?")
        if len(looks) == 3:
            raise InstrumentError("the bench is switched off")

    with pytest.raises(InstrumentError, match="switched off"):
        settled(Chuck([298.0]), go_on=go_on)
    assert len(looks) == 3
