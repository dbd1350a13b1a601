"""The calls of Keysight's IVI-C library KtM960x by which an M9615A is driven, over the cables of the world.

Source: the header and the calls that QCoDeS publishes (`KtM960xDefs.py`, `KtM960x.py`), and for repeated capabilities
and `Abort` public code that reads junctions with an M9615A. Arguments are those of C, as ctypes passes them; the
library returns 0, or a negative number whose text `error_query` has. The ranges are those of the bench file; a level
beyond the range and a limit beyond the largest are refused.
"""

import re
from dataclasses import dataclass, field
from random import Random
from typing import Any

from labctl.core.units import Second
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.leftovers import Leave, at_attribute
from sim_backend.emulators.nets import Drive
from sim_backend.emulators.world import World

ERROR, UNKNOWN = -1074135040, -1074118651
MODEL = 1050512
TEXTS = {1050511: "Keysight Technologies", MODEL: "M9615A", 1150027: "MY00000015", 1050510: "1.0.0"}
OTHERS = ("M9601A", "M9602A", "M9614A")
"""Other modules that the library drives."""
OUTPUT, LEVEL, RANGE_V, RANGE_AUTO = 1150403, 1150423, 1150427, 1150420
LIMIT, RANGE_I, APERTURE, IS_COMPLIANCE = 1150341, 1150346, 1150334, 1150340
DEFAULTS: dict[int, float] = {
    OUTPUT: 0, 1150410: 2, 1150411: 0, 1150419: 0, 1150479: 0, 1150391: 0, 1150392: 0, LEVEL: 0.0, RANGE_AUTO: 1,
    1150396: 0.0, 1150471: 0, 1150486: 0, APERTURE: 1e-3, 1150335: 1, 1150372: 1e-3, 1150373: 1,
}  # fmt: skip
"""Attributes of a channel after a reset; levels, ranges and limits come from the options."""


class OutOfRange(Exception):
    """A value that an attribute does not take."""


@dataclass
class Channel:
    """State of one channel."""

    wire: str
    values: dict[int, float] = field(default_factory=dict)


class M9615ALibrary:
    """The library, with one module; functions as the library exports them."""

    def __init__(self, name: str, options: Any, world: World) -> None:
        self.world, self._options, self._text, self._texts = world, options, "", dict(TEXTS)
        ranges = {RANGE_V: options.ranges_v[-1], RANGE_I: options.ranges_i[-1], LIMIT: options.ranges_i[0]}
        self.channels = {number: Channel(f"{name}.ch{number}", {**DEFAULTS, **ranges}) for number in range(1, 6)}
        for channel in self.channels.values():
            world.attach(channel.wire)
            self._apply(channel)

    def sleep(self, seconds: Second) -> None:
        """Let a time pass on the twin's clock."""
        with self.world.lock:
            self.world.advance(seconds)

    def _apply(self, channel: Channel) -> None:
        on = bool(channel.values[OUTPUT])
        self.world.drive(channel.wire, Drive(channel.values[LEVEL] if on else 0.0, channel.values[LIMIT]))

    def _refused(self, code: int, text: str) -> int:
        self._text = text
        return code

    def _place(self, part: bytes, attribute: int) -> Channel | None:
        match = re.fullmatch(r"(Output|Transient|Measurement)([1-5])", part.decode())
        return (
            self.channels[int(match[2])] if match and attribute in (*self.channels[1].values, IS_COMPLIANCE) else None
        )

    def _get(self, part: bytes, attribute: int, reference: Any) -> int:
        with self.world.lock:
            self.world.advance(self.world.timing.message)
            channel = self._place(part, attribute)
            if channel is None:
                return self._refused(UNKNOWN, f"there is no attribute {attribute} of {part.decode()}")
            value = channel.values.get(attribute, 0.0)
            if attribute == IS_COMPLIANCE:
                value = float(bool(channel.values[OUTPUT]) and self.world.observe(channel.wire).limited)
            reference._obj.value = type(reference._obj.value)(value)
            return 0

    def _set(self, part: bytes, attribute: int, value: Any) -> int:
        with self.world.lock:
            self.world.advance(self.world.timing.message)
            channel = self._place(part, attribute)
            if channel is None or attribute == IS_COMPLIANCE:
                return self._refused(UNKNOWN, f"there is no attribute {attribute} of {part.decode()} to be set")
            try:
                self._put(channel, attribute, float(value.value))
            except OutOfRange as error:
                return self._refused(ERROR, str(error))
            return 0

    def _put(self, channel: Channel, attribute: int, number: float) -> None:
        """Set an attribute of a channel; OutOfRange if it does not take the value."""
        values = channel.values
        beyond = (
            (attribute == LEVEL and not values[RANGE_AUTO] and abs(number) > 1.02 * values[RANGE_V])
            or (attribute == LIMIT and not 0 < number <= 1.02 * self._options.ranges_i[-1])
            or (attribute == RANGE_V and number not in self._options.ranges_v)
            or (attribute == RANGE_I and number not in self._options.ranges_i)
        )
        if beyond:
            raise OutOfRange(f"the value {number:.6g} of attribute {attribute} is out of range")
        values[attribute] = number
        self._apply(channel)

    def outputs(self) -> dict[str, float]:
        """Return the levels of the outputs that are on, V."""
        return {f"ch{n}": one.values[LEVEL] for n, one in self.channels.items() if one.values[OUTPUT]}

    def leftovers(self) -> dict[str, Leave]:
        """Return how each attribute of each channel is left, and which module is in the slot."""

        def at(channel: Channel, attribute: int) -> Leave:
            draws = {RANGE_V: self._options.ranges_v, RANGE_I: self._options.ranges_i}
            if attribute not in draws:
                return at_attribute(
                    lambda: channel.values[attribute], lambda number: self._put(channel, attribute, number), OutOfRange
                )

            def leave(rng: Random) -> str:
                self._put(channel, attribute, rng.choice(draws[attribute]))
                return str(channel.values[attribute])

            return leave

        def module(rng: Random) -> str:
            self._texts[MODEL] = rng.choice(OTHERS)
            return self._texts[MODEL]

        parts = {f"ch{n}.{part}": at(one, part) for n, one in self.channels.items() for part in one.values}
        return {**parts, "module": module}

    # -- functions of the library, by their names

    def KtM960x_InitWithOptions(self, resource: bytes, id_query: int, reset: int, options: bytes, session: Any) -> int:
        """Open a session; the module is reset only if it is asked for."""
        if resource.decode() != self._options.address:
            return self._refused(UNKNOWN, "no module is there")
        session._obj.value = 1
        return 0

    def KtM960x_close(self, session: Any) -> int:
        """End a session."""
        return 0

    def KtM960x_GetAttributeViString(self, session: Any, part: bytes, attribute: int, size: int, text: Any) -> int:
        """Return a text."""
        if attribute not in self._texts:
            return self._refused(UNKNOWN, f"there is no text {attribute}")
        text.value = self._texts[attribute].encode()[: size - 1]
        return 0

    def KtM960x_GetAttributeViReal64(self, session: Any, part: bytes, attribute: int, value: Any) -> int:
        """Return a number."""
        return self._get(part, attribute, value)

    def KtM960x_GetAttributeViInt32(self, session: Any, part: bytes, attribute: int, value: Any) -> int:
        """Return a whole number."""
        return self._get(part, attribute, value)

    def KtM960x_GetAttributeViBoolean(self, session: Any, part: bytes, attribute: int, value: Any) -> int:
        """Return whether something is so."""
        return self._get(part, attribute, value)

    def KtM960x_SetAttributeViReal64(self, session: Any, part: bytes, attribute: int, value: Any) -> int:
        """Set a number."""
        return self._set(part, attribute, value)

    def KtM960x_SetAttributeViInt32(self, session: Any, part: bytes, attribute: int, value: Any) -> int:
        """Set a whole number."""
        return self._set(part, attribute, value)

    def KtM960x_SetAttributeViBoolean(self, session: Any, part: bytes, attribute: int, value: Any) -> int:
        """Set whether something is so."""
        return self._set(part, attribute, value)

    def KtM960x_MeasurementMeasure(
        self, session: Any, kind: int, count: int, channels: Any, size: int, values: Any, actual: Any
    ) -> int:
        """Take a reading of one channel, all six values of it."""
        channel = self.channels[channels[0]]
        with self.world.lock:
            self.world.advance(self.world.timing.message)
            point = self.world.observe(channel.wire, channel.values[APERTURE])
            amps = point.amps if abs(point.amps) <= 1.05 * channel.values[RANGE_I] else 9.91e37
            ohms = point.volts / point.amps if point.amps else 9.91e37
            reading = (point.volts, amps, ohms, float(point.limited), self.world.now, channel.values[LEVEL])
        for at, value in enumerate(reading[:size]):
            values[at] = value
        actual._obj.value = len(reading)
        return 0

    def KtM960x_Abort(self, session: Any, count: int, channels: Any) -> int:
        """End what channels do by themselves: nothing here."""
        return 0

    def KtM960x_error_query(self, session: Any, code: Any, text: Any) -> int:
        """Return the last error."""
        code._obj.value, text.value = (ERROR if self._text else 0), self._text.encode()[:255]
        self._text = ""
        return 0


def emulate(name: str, options: Any, context: EmulatorContext) -> M9615ALibrary:
    """Return the library with the module of an entry of the bench file."""
    return M9615ALibrary(name, options, context.world)
