"""Keysight M9615A, a source-measure unit of five channels for PXIe, by Keysight's library. Not verified on a real one.

Verified against: a stand-in of the calls of the IVI-C library KtM960x, written from what QCoDeS publishes of its header
and calls, and from public code that reads a 15 x 15 array of junctions with this module; on no module.

Every setting of a channel is read back from the library, the current limit before any level, a level before anything is
done at it; that what is read back comes from the module, and not from the memory of the library, is not known [?]. The
session is opened without a reset, so that outputs stay as they are [?]. The host times every step. Ranges are those of
the bench file: no public source of them was found.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from instruments.host_timed import HostTimedSource, noting
from instruments.ktm960x import PATH, Attribute, KtM960x
from instruments.transport import CHECK
from labctl.core.driver import Driver, DriverKind, Wire
from labctl.core.errors import BenchError, InstrumentError, NotDriven
from labctl.core.model import Model
from labctl.core.source import (
    ChannelSetup,
    ChannelState,
    Level,
    OffState,
    Ramp,
    Sample,
    SourceCapabilities,
    Step,
)
from labctl.core.units import Ampere, Second, Volt

MODEL = "M9615A"
CHANNELS = ("ch1", "ch2", "ch3", "ch4", "ch5")
SHORTEST_PULSE: Second = 5e-3
"""[?] Of a pulse that the host times by calls of the library."""
STEP_MESSAGES = 4.0
"""Calls of a step, as a mean."""
OFF_CONDITION = {OffState.ZERO: 0, OffState.HIGH_Z: 1, OffState.NORMAL: 2}
_VOLTAGE, _STANDARD, _DC, _FIXED, _NORMAL = 0, 0, 0, 0, 0
"""Priority, operation, shape, transient mode and acquisition of a channel that forces a voltage."""
_CLOSE = 1e-4


class KeysightM9615AOptions(Model):
    """Options of an M9615A in the bench file."""

    address: str = Field(min_length=1, description="address of the module for the library, such as PXI213::0::INSTR")
    library: str = Field(default=PATH, min_length=1, description="path of the library KtM960x")
    ranges_v: tuple[Volt, ...] = Field(min_length=1, description="source ranges by its data sheet, ascending")
    ranges_i: tuple[Ampere, ...] = Field(min_length=1, description="measure ranges by its data sheet, ascending")
    shortest_aperture: Second = Field(gt=0, description="shortest integration time")
    longest_aperture: Second = Field(gt=0, description="longest integration time")
    shortest_pulse: Second = Field(default=SHORTEST_PULSE, gt=0, description="shortest pulse, timed by the host")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for name, ranges in (("ranges_v", self.ranges_v), ("ranges_i", self.ranges_i)):
            if any(full <= 0 for full in ranges) or list(ranges) != sorted(set(ranges)):
                raise ValueError(f"{name} are {ranges}; expected ascending, above 0")
        if self.shortest_aperture > self.longest_aperture:
            raise ValueError("shortest_aperture is above longest_aperture")
        return self


def capabilities(options: KeysightM9615AOptions) -> SourceCapabilities:
    """Return the capabilities: five channels, the ranges of the bench file."""
    apertures = (options.shortest_aperture, options.longest_aperture)
    return SourceCapabilities(
        MODEL,
        CHANNELS,
        options.ranges_v,
        options.ranges_i,
        options.shortest_pulse,
        apertures,
        step_messages=STEP_MESSAGES,
    )


class KeysightM9615A(HostTimedSource):
    """One module.

    Args:
        name: in the bench file.
        options: from the bench file.
        library: the loaded library; None loads that of the options.
        sleep: lets a time pass, s.
    """

    def __init__(
        self,
        name: str,
        options: KeysightM9615AOptions,
        library: Any = None,
        sleep: Callable[[Second], None] = time.sleep,
    ) -> None:
        super().__init__(name, capabilities(options))
        self._module = KtM960x(name, options.address, library, options.library)
        self._sleep = sleep

    def pause(self, seconds: Second) -> None:
        """Let a time pass by the clock of the host."""
        self._sleep(seconds)

    def identify(self) -> str:
        """Return the identity; BenchError if another module answers."""
        parts = (Attribute.MANUFACTURER, Attribute.MODEL, Attribute.SERIAL, Attribute.FIRMWARE)
        identity = [self._module.text(part) for part in parts]
        if identity[1] != MODEL:
            raise BenchError(
                f"{self.name}: '{identity[1]}' answers, and the driver is for an {MODEL}; nothing was changed"
            )
        return ",".join(identity)

    def read_state(self, channel: str) -> ChannelState:
        """Read output, level and limit of a channel."""
        output, measurement = _output(channel), _measurement(channel)
        current = None
        if self._module.integer(output, Attribute.PRIORITY) != _VOLTAGE:
            current = self._module.real(output, Attribute.CURRENT_LEVEL)
        level = self._level(channel)
        on = self._module.boolean(output, Attribute.OUTPUT)
        if on and self._module.integer(_transient(channel), Attribute.VOLTAGE_MODE) != _FIXED:
            level = math.nan
        return ChannelState(
            on,
            level,
            abs(self._module.real(measurement, Attribute.CURRENT_LIMIT)),
            current,
        )

    def diagnosis(self) -> tuple[list[str], list[str]]:
        """Return what each channel does else than force a level and read, and does by itself; no fault."""
        state = []
        for channel in CHANNELS:
            switches = [one for one in _booleans(channel) if one[1] in (Attribute.AUTO_ON, Attribute.AUTO_OFF)]
            integers = [(a, self._module.integer(part, a), value) for part, a, value in _integers(channel)]
            booleans = [(a, self._module.boolean(part, a), value) for part, a, value in switches]
            others = [f"{a.name} {int(present)}" for a, present, value in (*integers, *booleans) if present != value]
            if others:
                state.append(f"{channel}: not as for levels, and set anew before it is used: {', '.join(others)}")
        return state, []

    def prepare(self, setups: Mapping[str, ChannelSetup]) -> None:
        """Set channels up; see `HostTimedSource.prepare`. BenchError also for a remote sense, which nothing sets."""
        for channel, setup in setups.items():
            if setup.remote_sense:
                raise BenchError(
                    f"{self.name}.{channel}: no public call of the library sets a remote sense; nothing was set"
                )
        super().prepare(setups)

    def set_up(self, channel: str, range_v: Volt, setup: ChannelSetup) -> None:
        """Set all that a level, a reading or the off state depends on, and read it back."""
        module, output = self._module, _output(channel)
        module.abort([_number(channel)])
        condition = (output, Attribute.OFF_CONDITION, OFF_CONDITION[setup.off_state])
        integers, booleans = [*_integers(channel), condition], _booleans(channel)
        for part, attribute, value in integers:
            module.set_integer(part, attribute, value)
        for part, attribute, state in booleans:
            module.set_boolean(part, attribute, state)
        module.set_real(output, Attribute.VOLTAGE_RANGE, range_v)
        for part, attribute, value in integers:
            self._same(channel, attribute, module.integer(part, attribute), value)
        for part, attribute, state in booleans:
            self._same(channel, attribute, module.boolean(part, attribute), state)
        self._same(channel, Attribute.VOLTAGE_RANGE, module.real(output, Attribute.VOLTAGE_RANGE), range_v)

    def _same(self, channel: str, attribute: Attribute, present: float, wanted: float) -> None:
        """Raise InstrumentError unless a setting is read back as it was set."""
        if not math.isclose(present, wanted, rel_tol=_CLOSE, abs_tol=1e-12):
            raise InstrumentError(
                f"{self.name}.{channel}: {attribute.name} is {present:.6g} after {wanted:.6g} was set; the output "
                f"stays off; {CHECK}"
            )

    def set_level(self, channel: str, volts: Volt) -> None:
        """Set the level."""
        self._module.set_real(_output(channel), Attribute.VOLTAGE_LEVEL, volts)

    def _do(self, step: Step) -> Sample | None:
        """Carry out one step; a level is read back before anything else is done at it.

        Raises:
            NotDriven: another level is read back; 0 V is set then, and what is read back of that is told.
        """
        sample = super()._do(step)
        if isinstance(step, Level | Ramp):
            channel, level = step.channel, self._level(step.channel)
            if not math.isclose(level, step.volts, rel_tol=1e-3, abs_tol=1e-6):
                self._levels[channel] = 0.0
                self.set_level(channel, 0.0)
                raise NotDriven(
                    f"{self.name}.{channel} is at {level:.6g} V, and {step.volts:.6g} V was set; then 0 V was set, and "
                    f"it is at {self._level(channel):.6g} V; nothing of this script is accepted. Look whether another "
                    "program uses it"
                )
        return sample

    def _level(self, channel: str) -> Volt:
        return self._module.real(_output(channel), Attribute.VOLTAGE_LEVEL)

    def set_limit(self, channel: str, limit: Ampere, range_i: Ampere) -> None:
        """Set limit and measure range, and read the range back."""
        full, part = min(self._range(limit, self.capabilities.ranges_i, "A"), range_i), _measurement(channel)
        self._module.set_real(part, Attribute.CURRENT_LIMIT, limit)
        self._module.set_real(part, Attribute.CURRENT_RANGE, full)
        self._same(channel, Attribute.CURRENT_RANGE, self._module.real(part, Attribute.CURRENT_RANGE), full)

    def set_output(self, channel: str, on: bool) -> None:
        """Switch the output."""
        self._module.set_boolean(_output(channel), Attribute.OUTPUT, on)

    def set_aperture(self, channel: str, seconds: Second) -> None:
        """Set the integration time of both readings, and read it back."""
        part = _measurement(channel)
        for attribute in (Attribute.CURRENT_APERTURE, Attribute.VOLTAGE_APERTURE):
            self._module.set_real(part, attribute, seconds)
            self._same(channel, attribute, self._module.real(part, attribute), seconds)

    def limited(self, channel: str) -> bool:
        """Return whether a channel is at its current limit."""
        return self._module.boolean(_measurement(channel), Attribute.IS_COMPLIANCE)

    def measure(self, channel: str, voltage: bool) -> tuple[Ampere, Volt]:
        """Measure the current, NaN beyond the range, and with `voltage` the voltage."""
        volts, amps, *_ = self._module.measure(_number(channel))
        return amps if abs(amps) < 9e37 else math.nan, volts if voltage else math.nan

    def emergency_off(self) -> Mapping[str, ChannelState]:
        """End what channels do by themselves, 0 V and off on all of them, before anything is asked; then verify.

        Every step is tried, whatever those before it raised. A channel that another program left in a sweep is set to
        0 V and then to a fixed level, since its level could not be verified otherwise.

        Raises:
            InstrumentError: the module cannot be opened, or is not verified off.
        """
        failures: list[str] = []  # what counts is read back
        with noting(failures, urgent=True):
            self._module.abort([_number(channel) for channel in CHANNELS])
        for channel in CHANNELS:
            with noting(failures, urgent=True):
                self.set_level(channel, 0.0)
            with noting(failures, urgent=True):
                self._module.set_integer(_transient(channel), Attribute.VOLTAGE_MODE, _FIXED)
        try:
            self._switch_off(urgent=True)
        except InstrumentError as error:
            before = "; ".join(dict.fromkeys(failures))
            raise InstrumentError(f"{error}; before that: {before}" if before else str(error)) from error
        return {}

    def close(self) -> None:
        """End the session; outputs stay as they are [?]."""
        self._module.close()


def _number(channel: str) -> int:
    return CHANNELS.index(channel) + 1


def _output(channel: str) -> str:
    return f"Output{_number(channel)}"


def _transient(channel: str) -> str:
    return f"Transient{_number(channel)}"


def _measurement(channel: str) -> str:
    return f"Measurement{_number(channel)}"


def _integers(channel: str) -> list[tuple[str, Attribute, int]]:
    """Return what forces a level and reads it, as part, attribute and value."""
    output = _output(channel)
    return [
        (output, Attribute.PRIORITY, _VOLTAGE),
        (output, Attribute.OPERATION, _STANDARD),
        (output, Attribute.SHAPE, _DC),
        (_transient(channel), Attribute.VOLTAGE_MODE, _FIXED),
        (_measurement(channel), Attribute.ACQUISITION, _NORMAL),
    ]


def _booleans(channel: str) -> list[tuple[str, Attribute, bool]]:
    """Return the switches of a channel, as part, attribute and value: nothing by itself, nothing automatic."""
    output, measurement = _output(channel), _measurement(channel)
    return [
        (output, Attribute.AUTO_ON, False),
        (output, Attribute.AUTO_OFF, False),
        (output, Attribute.VOLTAGE_RANGE_AUTO, False),
        (measurement, Attribute.CURRENT_APERTURE_AUTO, False),
        (measurement, Attribute.VOLTAGE_APERTURE_AUTO, False),
    ]


def _make(name: str, options: KeysightM9615AOptions, twin: Any = None) -> KeysightM9615A:
    """Return an M9615A."""
    return KeysightM9615A(name, options) if twin is None else KeysightM9615A(name, options, twin, twin.sleep)


DRIVER = Driver(
    DriverKind.SOURCE,
    _make,
    KeysightM9615AOptions,
    wire=Wire.NONE,
    capabilities=capabilities,
    emulator="keysightm9615a",
    location=lambda options: options.address,
)
