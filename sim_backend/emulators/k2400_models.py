"""Data of the Series 2400: ranges of each model, and the steps of its voltage protection.

Source: 2400 Series user's manual (2400S-900-01 Rev. K): ranges 18-74, protection 3-12 and 18-79, compliance 6-2.
"""

from dataclasses import dataclass

from labctl.core.errors import BenchError
from labctl.core.units import Ampere, Volt

FULL = 1.05
"""Largest level, limit and reading, and what a range is answered as, as a part of the range."""


@dataclass(frozen=True)
class Model2400:
    """One model.

    Args:
        ranges_v, ranges_i: ascending, V and A; source and measure ranges are the same.
        protection: settings of the voltage protection, ascending, V; beyond the last it is none.
        most_i: largest current range with the highest voltage range, A.
        off_mode: output-off state after a reset.
    """

    name: str
    ranges_v: tuple[Volt, ...]
    ranges_i: tuple[Ampere, ...]
    protection: tuple[Volt, ...]
    most_i: Ampere
    off_mode: str = "NORMal"

    @property
    def v_max(self) -> Volt:
        """Largest voltage."""
        return FULL * self.ranges_v[-1]

    @property
    def i_max(self) -> Ampere:
        """Largest current."""
        return FULL * self.ranges_i[-1]

    @property
    def least_limit(self) -> Ampere:
        """Smallest current limit: a thousandth of the lowest range."""
        return 1e-3 * self.ranges_i[0]


_LOW = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
_HIGH = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
_P2400 = (20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 160.0)
_P2410 = (20.0, 40.0, 100.0, 200.0, 300.0, 400.0, 500.0)
_P2420 = (6.0, 12.0, 18.0, 24.0, 30.0, 36.0, 48.0)
_P2425 = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0)
_P2440 = (4.0, 8.0, 12.0, 16.0, 20.0, 24.0, 32.0)

MODELS = {
    model.name: model
    for model in (
        Model2400("2400", (0.2, 2.0, 20.0, 200.0), _LOW, _P2400, 0.1),
        Model2400("2400-LV", (0.2, 2.0, 20.0), _LOW, (20.0,), 1.0),
        Model2400("2401", (0.2, 2.0, 20.0), _LOW, (20.0,), 1.0),
        Model2400("2410", (0.2, 2.0, 20.0, 1000.0), (*_LOW[:4], 0.02, 0.1, 1.0), _P2410, 0.02, "GUARd"),
        Model2400("2420", (0.2, 2.0, 20.0, 60.0), (*_HIGH, 3.0), _P2420, 1.0),
        Model2400("2425", (0.2, 2.0, 20.0, 100.0), (*_HIGH, 3.0), _P2425, 1.0),
        Model2400("2440", (0.2, 2.0, 10.0, 40.0), (*_HIGH, 5.0), _P2440, 1.0),
    )
}


def model_named(name: str) -> Model2400:
    """Return the data of a model; BenchError if it is none of the family."""
    if name not in MODELS:
        raise BenchError(f"there is no emulated '{name}' of the Series 2400; expected one of {', '.join(MODELS)}")
    return MODELS[name]


def range_for(value: float, ranges: tuple[float, ...]) -> float:
    """Return the lowest range that takes a value; the highest if none does.

    >>> range_for(2.05, (0.2, 2.0, 20.0)), range_for(2.2, (0.2, 2.0, 20.0))
    (2.0, 20.0)
    """
    return next((full for full in ranges if abs(value) <= FULL * full * (1 + 1e-9)), ranges[-1])
