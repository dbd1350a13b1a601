"""A chuck is waited for until it has stayed at its temperature, and no longer than the patience that it has."""

from dataclasses import dataclass, field

import pytest

from instruments.chuck_temperature import POLL, ThermoOptions, TrainedContact, settle
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


def settled(chuck, target=358.0, go_on=lambda: None, held=False):
    waits = []
    return settle(chuck, target, OPTIONS, waits.append, go_on, held), sum(waits)


def test_an_excursion_during_the_soak_begins_it_anew():
    reached, waited = settled(Chuck([298.0, 358.3, 358.2, 359.0, 358.1, 358.0]))
    assert reached == 358.0
    assert waited == 4 * POLL + 20.0


@pytest.mark.parametrize(
    ("setpoint", "held", "soak"), [(358.0, True, 0.0), (358.0, False, 20.0), (423.0, True, 20.0), (423.0, False, 20.0)]
)
def test_a_chuck_is_not_waited_for_only_if_it_is_set_so_and_had_stayed_there(setpoint, held, soak):
    chuck = Chuck([358.2], setpoint=setpoint)
    assert settled(chuck, held=held) == (358.2, soak)
    assert chuck.set == ([] if setpoint == 358.0 else [358.0])


def test_contact_is_trained_at_the_temperature_at_which_its_height_appears():
    contact = TrainedContact(OPTIONS, lambda one, other: abs(one - other) < 5e-6)
    contact.see(11300e-6, 298.0)
    contact.see(11302e-6, 340.0)
    assert (contact.doubt(302.0), contact.doubt(290.0) != "") == ("", True)
    contact.see(11330e-6, 340.0)
    assert "the 340.00 K at which" in contact.doubt(358.0)


@pytest.mark.parametrize(
    ("chuck", "words"),
    [
        (Chuck([298.0], takes=False), "was set to 358 K, and is set to 298 K"),
        (Chuck([298.0, 330.0]), "at 330.00 K after 100 s, set to 358 K with 0.5 K of tolerance for 20 s"),
        (Chuck([358.0], setpoint=358.0, trouble="the chuck is in the state 'standby'"), "'standby', at 358.00 K"),
        (Chuck([298.0], trouble="the thermo chuck is in the state 'error'"), "in the state 'error', at 298.00 K"),
    ],
    ids=["not taken", "too slow", "in trouble there", "in trouble"],
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
