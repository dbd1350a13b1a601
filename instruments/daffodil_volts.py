"""Volts, ohms and amperes of a Daffodil board, and the codes of its converters; pure functions of its options.

Lines are counted from the amplifiers' reference, as a die has them; gates from the ground of the chip. Sources:
DAC: 5 V (x (m + 2) / 4096 + c) / 4096 (Analog Devices, data sheet AD5390/AD5391/AD5392, "transfer function", with the
reference of 2.5 V doubled). ADC: 5 V code / 4096, the code rounded (as the public library of the board's makers reads
an ADS7950 at gain 1, daffodillib 1b64a41). Feedback: a line through two points, measured for each potentiometer.
"""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Self

import numpy as np
from annotated_types import Ge, Gt, Le
from pydantic import Field, model_validator

from instruments.board_plan import ROUNDING, steps_towards_zero
from labctl.boards.daffodil import registers as reg
from labctl.core.errors import BenchError
from labctl.core.model import Model
from labctl.core.units import Ampere, FloatArray, IntArray, Ohm, Volt

FULL: Volt = 5.0
"""Twice the reference of DACs and ADCs."""
STEPS = 4096
POT_CODES = 256
_NOMINAL = (50.0, 100e3)
"""Ohm: wiper and whole of an AD8403 of 100 kohm, data sheet."""

Position = Annotated[int, Ge(0), Le(POT_CODES - 1)]


class Analogue(Model):
    """The converters of one board."""

    reference: Annotated[Volt, Ge(1.7), Le(2.5)] = Field(
        default=2.5, description="[?] what the amplifiers hold columns at while they are read, from the board's ground"
    )
    ground: Annotated[Volt, Gt(0), Le(2.5)] = Field(
        default=1.7, description="[?] the ground of the chip, from that of the board"
    )
    dac_m: Annotated[int, Ge(0), Le(4094)] = Field(default=4094, description="gain word of every DAC channel")
    dac_c: Annotated[int, Ge(-2048), Le(2047)] = Field(default=0, description="offset word of every DAC channel")
    feedback: Annotated[Ohm, Gt(0)] = Field(default=2e3, description="wanted feedback resistance of the amplifiers")
    potentiometer_codes: tuple[Position, Position] = Field(
        default=(0, 255), description="the two codes at which the feedback of each column was measured"
    )
    potentiometers: list[tuple[Ohm, Ohm]] | None = Field(
        default=None,
        description="what was measured there, for each column; left out: nominal ones, and currents are uncalibrated",
    )
    amplifier_low: Annotated[Volt, Ge(0)] = Field(default=0.0, description="[?] lowest output of the amplifiers")
    amplifier_high: Annotated[Volt, Le(FULL)] = Field(default=3.3, description="[?] highest output of the amplifiers")

    @model_validator(mode="after")
    def _calibrated(self) -> Self:
        first, second = self.potentiometer_codes
        if first == second:
            raise ValueError(f"potentiometer_codes are {first} twice; expected two codes")
        if self.potentiometers is not None:
            if len(self.potentiometers) != reg.LINES:
                raise ValueError(f"potentiometers of {len(self.potentiometers)} columns; expected {reg.LINES}")
            if any((b - a) * (second - first) <= 0 for a, b in self.potentiometers):
                raise ValueError("a potentiometer that does not rise with its code; expected ohms that do")
        if not self.amplifier_low < self.reference < self.amplifier_high:
            raise ValueError(
                f"reference {self.reference:g} V is not between amplifier_low {self.amplifier_low:g} V and "
                f"amplifier_high {self.amplifier_high:g} V; expected it there"
            )
        if self.ground > self.reference:
            raise ValueError(f"ground {self.ground:g} V is above reference {self.reference:g} V; expected below")
        return self

    def volts(self, code: IntArray | int) -> FloatArray:
        """Return what a DAC puts out at codes, V from the board's ground.

        >>> [round(float(Analogue().volts(code)), 5) for code in (0, 2048, 4095)]
        [0.0, 2.5, 4.99878]
        """
        return np.asarray(FULL * (np.asarray(code) * ((self.dac_m + 2) / STEPS) + self.dac_c) / STEPS)

    @property
    def adc_step(self) -> Volt:
        """One step of the ADCs, V."""
        return FULL / STEPS

    @property
    def step(self) -> Volt:
        """One step of the DACs, V."""
        return FULL * (self.dac_m + 2) / STEPS**2

    def _exact(self, volts: Volt) -> float:
        """Return the code, with its fraction, of volts from the board's ground."""
        return (volts - FULL * self.dac_c / STEPS) / self.step

    @cached_property
    def reference_code(self) -> int:
        """Code of the reference, the nearest."""
        return round(self._exact(self.reference))

    @cached_property
    def reference_reads(self) -> float:
        """Code of the ADCs, with its fraction, for a column without a current and an amplifier without an offset."""
        return float(self.volts(self.reference_code)) * STEPS / FULL

    @cached_property
    def lowest_code(self) -> int:
        """Lowest code of a line: not below the ground of the chip."""
        return math.ceil(self._exact(self.ground) - ROUNDING)

    @cached_property
    def closed_code(self) -> int:
        """Code that closes a gate: not above the ground of the chip."""
        return math.floor(self._exact(self.ground) + ROUNDING)

    def line_code(self, volts: FloatArray) -> IntArray:
        """Return codes of lines at V from the reference, steps taken towards it; BenchError for what is out of reach.

        So no two lines are further apart, and none from the reference, than asked for: limits that hold for what is
        asked for hold for what is applied.

        >>> a = Analogue()
        >>> a.line_code(np.array([0.0, 0.1, -0.1, a.step])).tolist()
        [2048, 2129, 1967, 2049]
        """
        code = self.reference_code + self.line_steps(volts)
        return self._within("line", volts, code, self.lowest_code, "the sense reference", self.line_volts)

    def line_steps(self, volts: FloatArray) -> IntArray:
        """Return whole steps of the DACs in volts, towards 0."""
        return steps_towards_zero(volts, self.step)

    def gate_code(self, volts: FloatArray) -> IntArray:
        """Return codes of gates at V from the chip's ground, steps taken down; BenchError for what is out of reach."""
        code = self._gate_code(volts)
        return self._within("gate", volts, code, self.closed_code, "the chip's ground", self.gate_volts)

    def highest_gate_code(self, volts: Volt) -> int:
        """Return the highest code of a gate that is at most V from the chip's ground, or the converters' highest.

        >>> a = Analogue()
        >>> bool(a.highest_gate_code(1.6) == a.gate_code(np.array([1.6]))[0]), a.highest_gate_code(9.0)
        (True, 4095)
        """
        return min(int(self._gate_code(np.array(volts))), reg.TOP_CODE)

    def _gate_code(self, volts: FloatArray) -> IntArray:
        exact = np.asarray(volts) / self.step + self._exact(self.ground)
        return np.asarray(np.floor(exact + ROUNDING).astype(np.int64))

    def line_volts(self, code: IntArray | int) -> FloatArray:
        """Return what lines have at codes, V from the reference."""
        return np.asarray((np.asarray(code) - self.reference_code) * self.step)

    def gate_volts(self, code: IntArray | int) -> FloatArray:
        """Return what gates have at codes, V from the chip's ground."""
        return np.asarray(self.volts(code) - self.ground)

    def _within(
        self,
        kind: str,
        volts: FloatArray,
        code: IntArray,
        lowest: int,
        from_where: str,
        volts_of: Callable[[int], FloatArray],
    ) -> IntArray:
        if code.size and not (int(code.min()) >= lowest and int(code.max()) <= reg.TOP_CODE):
            wrong = float(np.min(volts) if int(code.min()) < lowest else np.max(volts))
            low, high = (float(volts_of(end)) for end in (lowest, reg.TOP_CODE))
            raise BenchError(
                f"a {kind} at {wrong:.6g} V; the board's converters drive {kind}s from {low:.4f} to {high:.4f} V of "
                f"{from_where}"
            )
        return code

    @cached_property
    def pots(self) -> tuple[tuple[int, ...], FloatArray]:
        """Codes of the potentiometers of 25 columns nearest to the wanted feedback, and their resistances, ohm."""
        first, second = self.potentiometer_codes
        wiper, whole = _NOMINAL
        nominal = [(wiper + whole * first / POT_CODES, wiper + whole * second / POT_CODES)] * reg.LINES
        points = np.array(self.potentiometers or nominal)
        slope = (points[:, 1] - points[:, 0]) / (second - first)
        start = points[:, 0] - slope * first
        codes = np.rint((self.feedback - start) / slope).clip(0, POT_CODES - 1).astype(int)
        ohm = start + slope * codes
        if (np.abs(ohm / self.feedback - 1) > 0.5).any():
            worst = int(np.abs(ohm / self.feedback - 1).argmax())
            raise BenchError(
                f"feedback {self.feedback:g} ohm wanted; the nearest that the potentiometer of column {worst} has is "
                f"{ohm[worst]:.4g} ohm"
            )
        return tuple(codes.tolist()), ohm

    def current(self, code: FloatArray, zero: FloatArray, col: IntArray) -> FloatArray:
        """Return A out of columns, from their codes and those without a current; more current, lower code."""
        return np.asarray((zero - code) * self.adc_step / self.pots[1][col])

    @cached_property
    def rails(self) -> tuple[int, int]:
        """Lowest and highest code of an amplifier that is not at a rail."""
        low = int(np.rint(self.amplifier_low * STEPS / FULL)) + 1
        return max(low, 1), min(int(np.rint(self.amplifier_high * STEPS / FULL)) - 1, reg.TOP_CODE - 1)

    def full_scale(self, col: int) -> tuple[Ampere, Ampere]:
        """Return the most current into and out of a column that is read, A."""
        ohm, zero = float(self.pots[1][col]), float(self.volts(self.reference_code))
        return (self.amplifier_high - zero) / ohm, (zero - self.amplifier_low) / ohm
