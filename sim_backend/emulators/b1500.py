"""Keysight B1500A and E5270B: their FLEX commands for spot measurements with source-measure units.

A tokeniser of FLEX: letters, an optional question mark, numbers between commas; commands between semicolons; each reply
ends with CR and LF. Facts: commands, parameters, ranges, status letters and module names as in PyMeasure's and QCoDeS's
drivers; replies to `*LRN?` as public code quotes them. [?] Numbers and texts of errors, the 100 uA behind which a unit
comes on, and what `*LRN?` says of the series resistor and the converter.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from random import Random
from typing import Any

from labctl.core.units import Ampere, Ratio, Second
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.leftovers import Leave
from sim_backend.emulators.link import Instrument
from sim_backend.emulators.meter_gain import MeterGain
from sim_backend.emulators.nets import Drive
from sim_backend.emulators.world import World
from sim_backend.rng import KeyedBits, first_of

SLOTS = {"B1500A": 10, "E5270B": 8}
UNITS = {"B1500A": "B1517A", "E5270B": "E5281B"}
"""Source-measure unit in the slots that a bench uses."""
MAKER = "Agilent Technologies"
VOLTS = {5: 0.5, 20: 2.0, 11: 2.0, 50: 5.0, 200: 20.0, 12: 20.0, 400: 40.0, 13: 40.0, 1000: 100.0, 14: 100.0}
AMPS = {code: 10.0 ** (code - 20) for code in range(9, 20)}
"""Ranges by their codes; 0 is automatic."""
ON_LIMIT: Ampere = 100e-6
"""Limit behind which a unit comes on."""
MOST_AMPS: Ampere = 0.105
CYCLE: Second = 80e-6
NONE = "+199.999E+99"
"""Value of a reading beyond its range."""
NOISE, DIGITS = 2e-6, 1e-6
"""[?] rms noise of one reading and digits of the converter, as fractions of the range."""
ERRORS = {
    100: "Undefined GPIB command.",
    102: "Incorrect numeric data syntax.",
    120: "Incorrect parameter value.",
    121: "Channel number must be 1 to 10.",
    200: "Channel output switch must be ON.",
    206: "Compliance must be set correctly.",
}
OTHERS = ("WM", "WT", "WV", "MT", "MM", "CMM", "RI", "RV", "RM", "PAD", "TM", "ADJ")
"""Commands that are accepted and change nothing that a spot measurement depends on; nothing begins by them."""
_COMMAND = re.compile(r"(\*?[A-Z]+)(\??)(.*)", re.S)


class FlexError(Exception):
    """An error of a command."""

    def __init__(self, code: int) -> None:
        super().__init__(f"{code} {ERRORS[code]}")
        self.code = code


@dataclass
class Unit:
    """State of one source-measure unit."""

    output: bool = False
    current: bool = False
    """It forces a current."""
    range_code: int = 200
    volts: float = 0.0
    amps: float = 0.0
    limit: float = ON_LIMIT
    limit_v: float = 2.0
    filter: int = 0
    resistor: int = 0
    converter: int = 0


def tokens(message: str) -> list[tuple[str, bool, list[float]]]:
    """Return the commands of a message: name, whether it is a query, numbers.

    >>> tokens("DV 1,0,0.5,1E-3;TI2,-16")
    [('DV', False, [1.0, 0.0, 0.5, 0.001]), ('TI', False, [2.0, -16.0])]
    """
    found = []
    for part in message.split(";"):
        text = part.strip().upper()
        if not text:
            continue
        match = _COMMAND.fullmatch(text)
        if match is None:
            raise FlexError(100)
        try:
            numbers = [float(number) for number in match[3].split(",") if number.strip()]
        except ValueError as error:
            raise FlexError(102) from error
        if not all(math.isfinite(number) for number in numbers):
            raise FlexError(102)
        found.append((match[1], bool(match[2]), numbers))
    return found


class B1500(Instrument):
    """A mainframe with units in some of its slots.

    Args:
        slots: those that have a unit.
        ideal: no noise and no resolution.
        offset: zero-bias error of the ammeters, A.
        gain: error of the gain of each unit, quantity and range, standard deviation of its logarithm.
    """

    def __init__(
        self, name: str, model: str, world: World, *, slots: tuple[int, ...], ideal: bool = True, seed: int = 0,
        offset: Ampere = 0.0, gain: Ratio = 0.0, mains: float = 50.0,
    ) -> None:  # fmt: skip
        super().__init__(name, model, world)
        self.units = {slot: Unit() for slot in slots}
        self.modules = dict.fromkeys(slots, UNITS[model])
        self.ideal, self.offset, self.mains, self.firmware = ideal, offset, mains, "A.06.01.2020.0101"
        self.errors: list[int] = []
        self.format, self.calibrates, self.integration = 1, 0, (0, 6)
        """Data format; automatic calibration; mode and count of the high-resolution converter."""
        self._noise, self._readings = KeyedBits(seed), 0
        self._gains = {slot: MeterGain(seed, slot, gain) for slot in slots}
        for slot in slots:
            world.attach(self._wire(slot))
            self._apply(slot)

    def _wire(self, slot: int) -> str:
        return f"{self.name}.smu{slot}"

    def _apply(self, slot: int) -> None:
        unit = self.units[slot]
        drive = Drive(unit.amps, unit.limit_v, current=True) if unit.current else Drive(unit.volts, unit.limit)
        self.world.drive(self._wire(slot), drive if unit.output else None)

    # -- what the world asks

    def outputs(self) -> dict[str, float]:
        """Return the levels of the outputs that are on, V, or A of one that forces a current."""
        return {f"smu{s}": u.amps if u.current else u.volts for s, u in self.units.items() if u.output}

    def trip(self) -> None:
        """Open every unit by itself."""
        for slot in self.units:
            self._open(slot)

    def power_off(self) -> None:
        """Drive nothing any more."""
        self._reset()

    def seek(self, operation: int) -> None:
        """Set the noise to the number of an operation."""
        self._readings = first_of(operation)

    def ends_busy(self, line: bytes) -> bool:
        """Return whether a message aborts the running one."""
        return line.strip().upper() == b"AB"

    # -- commands

    def execute(self, message: str) -> str:
        """Execute one message; each reply ends with CR and LF."""
        replies: list[str] = []
        try:
            for name, asked, numbers in tokens(message):
                reply = self._carry_out(name, asked, numbers)
                if reply is not None:
                    replies.append(f"{reply}\r\n")
        except FlexError as error:
            self.errors.append(error.code)
            self.refuse(f"{error} ({message.strip()[:60]})")
        except (ValueError, TypeError, IndexError, KeyError):
            self.errors.append(120)
            self.refuse(f"120 ({message.strip()[:60]})")
        return "".join(replies)

    def _carry_out(self, name: str, asked: bool, numbers: list[float]) -> str | None:
        table: dict[str, Callable[..., str | None]] = {
            "*IDN?": lambda: f"{MAKER},{self.model},0,{self.firmware}",
            "UNT?": self._unit_list,
            "*LRN?": lambda kind: self._learn(int(kind)),
            "ERR?": self._codes,
            "ERRX?": self._error,
            "EMG?": lambda code: ERRORS.get(int(code), "No Error."),
            "*STB?": lambda: "0",
            "*OPC?": lambda: "1",
            "*RST": self._reset,
            "PA": self._pause,
            "AB": lambda: None,
            "BC": lambda: None,
            "CN": lambda *slots: self._switch(True, slots),
            "CL": lambda *slots: self._switch(False, slots),
            "DZ": self._zero,
            "IN": self._zero,
            "DV": self._volts,
            "DI": self._amps,
            "TI": lambda slot, code=0.0: self._measure(int(slot), "I", int(code)),
            "TV": lambda slot, code=0.0: self._measure(int(slot), "V", int(code)),
            "FMT": self._set_format,
            "CM": self._set_calibration,
            "FL": self._set_filter,
            "SSR": lambda slot, mode: self._set_unit(slot, "resistor", mode, 1),
            "AAD": lambda slot, mode: self._set_unit(slot, "converter", mode, 2),
            "AIT": self._set_integration,
            "AV": lambda count, mode=0.0: self._within(abs(count), 1, 1023),
            "AZ": lambda mode: self._within(mode, 0, 1),
            "TSC": lambda mode: self._within(mode, 0, 1),
            "WAT": lambda kind, factor, offset=0.0: self._within(kind, 1, 3),
        }
        act = table.get(f"{name}?" if asked else name)
        if act is None and not asked and name in OTHERS:
            return None
        if act is None:
            raise FlexError(100)
        return act(*numbers)

    def _unit(self, slot: float) -> Unit:
        if int(slot) not in self.units:
            raise FlexError(121)
        return self.units[int(slot)]

    def _within(self, value: float, least: float, most: float) -> None:
        if not least <= value <= most:
            raise FlexError(120)

    def _pause(self, seconds: float) -> None:
        self._within(seconds, 0, 99.9999)
        self.world.advance(seconds)

    def _reset(self) -> None:
        for slot in self.units:
            self.units[slot] = Unit()
            self._apply(slot)
        self.format, self.calibrates, self.integration = 1, 0, (0, 6)

    def _switch(self, on: bool, slots: tuple[float, ...]) -> None:
        for slot in [int(slot) for slot in slots if self._unit(slot)] or list(self.units):
            if not on:
                self._open(slot)
            elif not self.units[slot].output:
                unit = self.units[slot]
                unit.output, unit.current, unit.volts, unit.limit, unit.range_code = True, False, 0.0, ON_LIMIT, 200
                self._apply(slot)
                self.world.advance(self.world.timing.output_relay)

    def _open(self, slot: int) -> None:
        unit = self.units[slot]
        was, unit.output, unit.current, unit.volts, unit.amps = unit.output, False, False, 0.0, 0.0
        self._apply(slot)
        if was:
            self.world.advance(self.world.timing.output_relay)

    def _zero(self, *slots: float) -> None:
        for slot in [int(slot) for slot in slots if self._unit(slot)] or list(self.units):
            unit = self.units[slot]
            if unit.output:
                unit.current, unit.volts, unit.amps = False, 0.0, 0.0
                self._apply(slot)

    def _volts(self, slot: float, code: float, volts: float, limit: float | None = None, *_: float) -> None:
        unit = self._unit(slot)
        full = max(VOLTS.values()) if int(code) == 0 else VOLTS[int(code)]
        self._within(abs(volts), 0, max(VOLTS.values()))
        if not unit.output:
            raise FlexError(200)
        if limit is None and unit.current:
            raise FlexError(206)
        if limit is not None and not 0 < abs(limit) <= MOST_AMPS:
            raise FlexError(206)
        unit.current, unit.volts = False, volts
        unit.range_code = int(code) if abs(volts) <= full else 1000
        unit.limit = unit.limit if limit is None else abs(limit)
        self._apply(int(slot))
        self.world.advance(self.world.timing.source_settle)

    def _amps(self, slot: float, code: float, amps: float, limit: float | None = None, *_: float) -> None:
        unit = self._unit(slot)
        self._within(abs(amps), 0, MOST_AMPS)
        if int(code) not in (0, *AMPS):
            raise FlexError(120)
        if not unit.output:
            raise FlexError(200)
        if limit is None and not unit.current:
            raise FlexError(206)
        unit.current, unit.amps, unit.range_code = True, amps, int(code)
        unit.limit_v = unit.limit_v if limit is None else abs(limit)
        self._apply(int(slot))
        self.world.advance(self.world.timing.source_settle)

    def _set_format(self, form: float, mode: float = 0.0) -> None:
        if form not in (1, 2, 5) or mode not in (0, 1, 2):
            raise FlexError(120)
        self.format = int(form)

    def _set_calibration(self, mode: float) -> None:
        self._within(mode, 0, 1)
        self.calibrates = int(mode)

    def _set_filter(self, mode: float, *slots: float) -> None:
        self._within(mode, 0, 1)
        for slot in [int(slot) for slot in slots if self._unit(slot)] or list(self.units):
            self.units[slot].filter = int(mode)

    def _set_unit(self, slot: float, name: str, value: float, most: int) -> None:
        self._within(value, 0, most)
        setattr(self._unit(slot), name, int(value))

    def _set_integration(self, kind: float, mode: float, count: float = 1.0) -> None:
        self._within(kind, 0, 2)
        self._within(mode, 0, 3)
        self._within(count, 1, 1023 if kind == 0 else (127 if mode == 1 else 100))
        if kind == 1:
            self.integration = int(mode), int(count)

    # -- replies

    def _unit_list(self, *_: float) -> str:
        return ";".join(f"{self.modules[s]},0" if s in self.modules else "0,0" for s in range(1, SLOTS[self.model] + 1))

    def _error(self, *_: float) -> str:
        if self.model != "B1500A":
            raise FlexError(100)
        code = self.errors.pop(0) if self.errors else 0
        return f'+{code},"{ERRORS.get(code, "No Error.")}"'

    def _codes(self, mode: float = 0.0) -> str:
        if mode == 1:
            return str(self.errors.pop(0) if self.errors else 0)
        four = (self.errors + [0] * 4)[:4]
        self.errors.clear()
        return ",".join(map(str, four))

    def _learn(self, kind: int) -> str:
        """Return the commands that make a part of the state."""
        on = [slot for slot, unit in self.units.items() if unit.output]
        if kind == 0:
            return f"CN{','.join(map(str, on))}" if on else "CL"
        if kind in self.units:
            return self._learn_unit(kind)
        if kind == 30:
            by = {mode: [str(s) for s, u in self.units.items() if u.filter == mode] for mode in (0, 1)}
            return ";".join(
                f"FL{m}" if len(s) == len(self.units) else f"FL{m},{','.join(s)}" for m, s in by.items() if s
            )
        if kind == 31:
            return f"TM1;AV1,0;CM{self.calibrates};FMT{self.format},0;MM1"
        if kind == 53:
            return ";".join(f"SSR{slot},{unit.resistor}" for slot, unit in self.units.items())
        if kind == 55:
            return ";".join(f"AAD{slot},{unit.converter}" for slot, unit in self.units.items())
        if kind == 56:
            return f"AIT0,0,1;AIT1,{self.integration[0]},{self.integration[1]}"
        raise FlexError(120)

    def _learn_unit(self, slot: int) -> str:
        unit = self.units[slot]
        if not unit.output:
            return f"CL{slot}"
        if unit.current:
            return f"DI{slot},{unit.range_code},{unit.amps:+.5E},{unit.limit_v:+.5E}"
        return f"DV{slot},{unit.range_code},{unit.volts:+.5E},{unit.limit:+.5E},0,16"

    @property
    def aperture(self) -> Second:
        """Integration time of the high-resolution converter, s."""
        mode, count = self.integration
        return count / self.mains if mode == 2 else count * CYCLE

    def _measure(self, slot: int, kind: str, code: int) -> str:
        unit = self._unit(slot)
        if not unit.output:
            raise FlexError(200)
        ranges = AMPS if kind == "I" else VOLTS
        if code and abs(code) not in ranges:
            raise FlexError(120)
        self.world.advance(self.world.timing.measure_overhead)
        point = self.world.observe(self._wire(slot), self.aperture if unit.converter == 1 else CYCLE)
        self._readings += 1
        value = point.amps + self.offset if kind == "I" else point.volts
        if unit.resistor and kind == "V":
            value += point.amps * 1e6
        fits = next((full for full in sorted(set(ranges.values())) if abs(value) <= full), max(ranges.values()))
        full = ranges[-code] if code < 0 else max(fits, ranges.get(code, 0.0))
        value = self._digitised(slot, kind, value, full)
        another = any(
            other != slot and one.output and self.world.observe(self._wire(other)).limited
            for other, one in self.units.items()
        )
        beyond = abs(value) > 1.15 * full
        status = "V" if beyond else "C" if point.limited else "T" if another else "N"
        header = "" if self.format == 2 else f"{status}{chr(ord('A') + slot - 1)}{kind}"
        return f"{header}{NONE if beyond else f'{value:+.6E}'}"

    def _digitised(self, slot: int, kind: str, value: float, full: float) -> float:
        """Return a reading with the noise and the resolution of its range."""
        if self.ideal:
            return float(value)
        quantity = int(kind == "I")
        value *= self._gains[slot](quantity, full)
        value += NOISE * full * self._noise.normal(self._readings, quantity, slot)
        return float(round(value / (DIGITS * full)) * DIGITS * full)

    def leftovers(self) -> dict[str, Leave]:
        """Return how the parts of the units' state, the modes and a module are left."""

        def part_of(slot: int, name: str) -> Leave:
            def leave(rng: Random) -> str | None:
                draws: dict[str, Any] = {
                    "output": True, "current": True, "range_code": rng.choice((20, 200, 400)),
                    "volts": round(rng.uniform(-20, 20), 3), "amps": round(rng.uniform(-0.1, 0.1), 4),
                    "limit": float(f"{10 ** rng.uniform(-9, -1):.3g}"), "limit_v": round(rng.uniform(0.1, 40), 2),
                    "filter": 1, "resistor": 1, "converter": rng.randint(1, 2),
                }  # fmt: skip
                unit = self.units[slot]
                if name in ("current", "volts", "amps", "limit", "limit_v", "range_code"):
                    unit.output = True  # a unit that is off knows none of them
                setattr(unit, name, draws[name])
                self._apply(slot)
                return str(draws[name])

            return leave

        def modes(rng: Random) -> str:
            self.format, self.calibrates = rng.choice((2, 5)), rng.randint(0, 1)
            self.integration = rng.choice(((0, 3), (1, 100), (2, 10)))
            return f"{self.format}, {self.calibrates}, {self.integration}"

        def errors(rng: Random) -> str:
            self.errors = [rng.choice(list(ERRORS)) for _ in range(rng.randint(1, 6))]
            return str(self.errors)

        def module(rng: Random) -> str:
            slot = rng.choice(list(self.modules))
            self.modules[slot] = "B1520A"
            return f"B1520A in slot {slot}"

        parts = {f"smu{s}.{f.name}": part_of(s, f.name) for s in self.units for f in fields(Unit)}
        return {**super().leftovers(), **parts, "modes": modes, "errors": errors, "units": module}


def emulate(name: str, options: Any, context: EmulatorContext) -> B1500:
    """Return the emulated mainframe of an entry of the bench file."""
    return B1500(
        name, options.model, context.world, slots=options.slots, ideal=context.ideal, seed=context.seed,
        offset=context.offset, gain=context.gain, mains=float(options.mains.split()[0]),
    )  # fmt: skip
