"""The temperature of a chuck: set within bounds, read back, waited for, and judged before needles touch.

Needles are up while it changes. A chuck that grows warmer also grows: contact that was trained at another temperature
may be tens of um off, so needles touch only near the temperature at which contact was trained, or where the bench file
says that the station compensates it.
"""

import math
from collections.abc import Callable
from typing import Protocol

from pydantic import Field

from labctl.core.errors import InstrumentError
from labctl.core.model import Model
from labctl.core.units import Kelvin, Metre, Second

ZERO: Kelvin = 273.15
"""0 degrees Celsius."""
POLL: Second = 5.0
"""Between two looks at a chuck that heats or cools."""


class ThermoOptions(Model):
    """Options of a chuck whose temperature is set. All but the bounds are engineering defaults."""

    hottest: Kelvin | None = Field(
        default=None, gt=0, le=600, description="the chuck is set to the campaign's temperature, no hotter than this; "
        "left out: nothing sets it"
    )  # fmt: skip
    coldest: Kelvin = Field(default=293.15, gt=0, le=600, description="and no colder than this")
    temperature_tolerance: Kelvin = Field(default=0.5, gt=0, le=20, description="how far it may be off when settled")
    soak: Second = Field(default=60.0, ge=0, description="[?] how long it has to stay within its tolerance")
    heating_time: Second | None = Field(
        default=None,
        gt=0,
        description="[?] of coming to the campaign's temperature, for the plan; left out: it is not counted",
    )
    heating_patience: Second = Field(default=3600.0, gt=0, description="longest wait for it")
    steady: Kelvin = Field(
        default=5.0,
        ge=0,
        description="[?] change after which contact has to be trained again; needles stay up until then",
    )
    compensates_temperature: bool = Field(
        default=False, description="the station finds its contact anew after a change by itself, so needles may touch"
    )


class Thermo(Protocol):
    """A station's chuck, as its commands give it."""

    name: str

    def chuck_temperature(self) -> Kelvin:
        """Return the temperature; InstrumentError if the station has none."""
        ...

    def chuck_setpoint(self) -> Kelvin:
        """Return what it is set to."""
        ...

    def set_chuck(self, temperature: Kelvin) -> None:
        """Set it; nothing waits."""
        ...

    def chuck_trouble(self) -> str:
        """Return why it will not settle, empty if nothing says so."""
        ...


class TrainedContact:
    """At which temperature the contact height of a chuck was trained, as far as one connection can tell.

    The height that is seen first is taken for trained at the temperature that is seen with it; every other height
    later for trained at the temperature at which it appears.

    Args:
        near: whether two heights are the same, m.
    """

    def __init__(self, options: ThermoOptions, near: Callable[[Metre, Metre], bool]) -> None:
        self._options, self._near = options, near
        self._height: Metre | None = None
        self._trained_at: Kelvin = math.nan

    def see(self, height: Metre, temperature: Kelvin) -> None:
        """Take note of the contact height that a chuck has at a temperature."""
        if self._height is None or not self._near(height, self._height):
            self._height, self._trained_at = height, temperature

    def doubt(self, temperature: Kelvin) -> str:
        """Return why needles must not touch at a temperature, empty if they may."""
        if abs(temperature - self._trained_at) <= self._options.steady:
            return ""
        return (
            f"the chuck is at {temperature:.2f} K, another temperature than the {self._trained_at:.2f} K at which its "
            "contact height was trained; train contact at the station, then resume"
        )


def beyond(target: Kelvin, options: ThermoOptions) -> str:
    """Return why a chuck is not set to a temperature, empty if it is within the bounds of the bench file."""
    hottest = options.hottest
    if hottest is not None and options.coldest <= target <= hottest:
        return ""
    most = "is not set at all" if hottest is None else f"goes from {options.coldest:g} to {hottest:g} K"
    return f"the campaign says {target:g} K, and the chuck of the bench file {most}"


def bounds_fit(name: str, target: Kelvin, options: ThermoOptions) -> None:
    """Raise InstrumentError if a temperature is out of the bounds of the bench file."""
    if text := beyond(target, options):
        raise InstrumentError(f"{name}: {text}")


def settle(
    thermo: Thermo,
    target: Kelvin,
    options: ThermoOptions,
    wait: Callable[[Second], None],
    go_on: Callable[[], None],
    held: bool = False,
) -> Kelvin:
    """Have the chuck at a temperature, wait until it has stayed there, and return what is read then, K.

    Args:
        target: K.
        wait: waits for a time, s.
        go_on: called before each wait; raises when the bench is switched off.
        held: it has stayed there before. If it is still set so and still there, it is not waited for again.

    Raises:
        InstrumentError: out of bounds, not taken, in trouble, or not settled in time.
    """
    bounds_fit(thermo.name, target, options)
    present = thermo.chuck_temperature()
    tolerance = options.temperature_tolerance
    was_set = abs(thermo.chuck_setpoint() - target) <= tolerance
    if not was_set:
        thermo.set_chuck(target)
        setpoint = thermo.chuck_setpoint()
        if abs(setpoint - target) > tolerance:
            raise InstrumentError(
                f"{thermo.name}: the chuck was set to {target:g} K, and is set to {setpoint:g} K; look at the station"
            )
    waited = stayed = 0.0
    soak = 0.0 if held and was_set and abs(present - target) <= tolerance else options.soak
    while True:
        if trouble := thermo.chuck_trouble():
            raise InstrumentError(
                f"{thermo.name}: {trouble}, at {present:.2f} K and set to {target:g} K; look at the station"
            )
        if abs(present - target) <= tolerance and stayed >= soak:
            return present
        if waited >= options.heating_patience:
            raise InstrumentError(
                f"{thermo.name}: the chuck is at {present:.2f} K after {waited:g} s, set to {target:g} K with "
                f"{tolerance:g} K of tolerance for {soak:g} s; look at the station, or raise 'heating_patience'"
            )
        go_on()
        wait(POLL)
        waited += POLL
        before, present = present, thermo.chuck_temperature()
        stayed = stayed + POLL if max(abs(before - target), abs(present - target)) <= tolerance else 0.0
