"""Operating points of conditions that a die is held at, kept until a cell changes: time passes at the same point."""

from collections.abc import Sequence

import numpy as np

from labctl.core.bias import Geometry
from labctl.core.errors import BenchError
from labctl.core.units import BoolArray, FloatArray, Second
from sim_backend.array import Array
from sim_backend.circuit import OperatingPoint

_HELD = 16
"""Held conditions whose operating points are kept."""
_Key = tuple[int, bytes, bytes, bytes]
"""Kernel and bytes of the voltages, of the mask of driven lines and of the compliances."""


class HeldPoints:
    """The last conditions that the arrays of a die were held at, each with the version of its kernel and its point."""

    def __init__(self, arrays: Sequence[Array], geometry: Geometry) -> None:
        self._arrays, self._geometry = arrays, geometry
        self._kept: dict[_Key, tuple[int, OperatingPoint]] = {}

    def forget(self) -> None:
        """Solve every condition anew."""
        self._kept.clear()

    def point(
        self, kernel: int, voltage: FloatArray, driven: BoolArray, compliance: FloatArray, duration: Second
    ) -> OperatingPoint:
        """Return the operating point of a condition; arguments and errors as of `SimDie.hold`."""
        kept = self._kept.get((kernel, voltage.tobytes(), driven.tobytes(), compliance.tobytes()))
        if kept is not None and kept[0] == self._arrays[kernel].circuit.version and duration >= 0:
            return kept[1]
        return self.anew(kernel, voltage, driven, compliance, duration)

    def anew(
        self, kernel: int, voltage: FloatArray, driven: BoolArray, compliance: FloatArray, duration: Second
    ) -> OperatingPoint:
        """Solve a condition and keep its operating point."""
        array_lines = (self._geometry.n_rows + self._geometry.n_cols,)
        if not 0 <= kernel < self._geometry.kernels:
            raise BenchError(f"kernel {kernel} is not on this die, which has {self._geometry.kernels}")
        if not (voltage.shape == driven.shape == compliance.shape == array_lines):
            raise BenchError(
                f"hold got {voltage.shape} voltages, {driven.shape} driven, {compliance.shape} compliances; "
                f"expected {array_lines} each"
            )
        if not (np.isfinite(voltage).all() and (compliance > 0).all() and duration >= 0):
            raise BenchError("hold needs finite voltages, positive compliances and a duration that is not negative")
        circuit = self._arrays[kernel].circuit
        point = circuit.operating_point(np.where(driven, voltage, 0.0), driven, compliance)
        for values in (point.line_voltage, point.line_current, point.limited):
            values.flags.writeable = False  # they are given out again
        if len(self._kept) >= _HELD:
            self._kept.clear()
        self._kept[kernel, voltage.tobytes(), driven.tobytes(), compliance.tobytes()] = circuit.version, point
        return point
