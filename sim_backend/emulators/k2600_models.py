"""Data of the Series 2600B: source, measure and limit ranges of each model.

Figures: Series 2600B data sheet (ranges, programming resolution) and reference manual (defaults, contact check).
"""

from dataclasses import dataclass
from functools import cached_property

from labctl.core.errors import BenchError
from labctl.core.units import Ampere, Volt


@dataclass(frozen=True)
class EmulatedModel:
    """One model of the family.

    Args:
        v_ranges: voltage ranges, V, with the programming resolution of the source on each.
        i_ranges: current source ranges, A.
        i_measure: current measure ranges, A; the lowest may be one that cannot source.
        safe: largest current above the voltage (V, A) of the safe operating area.
        default_limit: `limiti` after a reset, A.
        lowest_limit: smallest `limiti` and `limitv`.
    """

    name: str
    channels: tuple[str, ...]
    v_ranges: tuple[tuple[Volt, Volt], ...]
    i_ranges: tuple[Ampere, ...]
    i_measure: tuple[Ampere, ...]
    safe: tuple[Volt, Ampere]
    default_limit: Ampere
    default_limit_v: Volt
    lowest_limit: tuple[Ampere, Volt]
    contact_check: bool
    output_enable_fixed: bool

    @property
    def digital_lines(self) -> bool:
        """Whether it has digital lines; the manual names the models without, which have no contact check either."""
        return self.contact_check

    @cached_property
    def v_full(self) -> tuple[Volt, ...]:
        """Full scales of the voltage ranges."""
        return tuple(full for full, _ in self.v_ranges)

    @cached_property
    def v_steps(self) -> dict[Volt, Volt]:
        """Programming resolution of the source by the full scale of its range."""
        return dict(self.v_ranges)

    @property
    def v_max(self) -> Volt:
        """Full scale of the highest voltage range."""
        return self.v_ranges[-1][0]

    @property
    def i_max(self) -> Ampere:
        """Full scale of the highest current range."""
        return self.i_ranges[-1]


_BOTH = ("smua", "smub")
_V40 = ((0.1, 5e-6), (1.0, 50e-6), (6.0, 50e-6), (40.0, 500e-6))
_V200 = ((0.2, 5e-6), (2.0, 50e-6), (20.0, 500e-6), (200.0, 5e-3))
_DECADES = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)


def _low(name: str, channels: tuple[str, ...], contact: bool) -> EmulatedModel:
    currents = (*_DECADES, 3.0)
    return EmulatedModel(
        name, channels, _V40, currents, currents, (6.0, 1.0), 1.0, 40.0, (10e-9, 10e-3), contact, False
    )  # fmt: skip


def _high(
    name: str, channels: tuple[str, ...], contact: bool, lowest: tuple[Ampere, ...], femto: bool
) -> EmulatedModel:
    currents = (*lowest, *_DECADES, 1.5)
    measured = ((1e-10,) if femto else ()) + currents
    least = 100e-12 if lowest else 10e-9
    return EmulatedModel(
        name, channels, _V200, currents, measured, (20.0, 0.1), 0.1, 20.0, (least, 20e-3), contact, True
    )  # fmt: skip


_NANO = (1e-9, 1e-8)
MODELS: dict[str, EmulatedModel] = {
    model.name: model
    for model in (
        _low("2601B", ("smua",), True),
        _low("2602B", _BOTH, True),
        _low("2604B", _BOTH, False),
        _high("2611B", ("smua",), True, (), False),
        _high("2612B", _BOTH, True, (), False),
        _high("2614B", _BOTH, False, (), False),
        _high("2634B", _BOTH, False, _NANO, False),
        _high("2635B", ("smua",), True, _NANO, True),
        _high("2636B", _BOTH, True, _NANO, True),
    )
}


def model_named(name: str) -> EmulatedModel:
    """Return the model `name`; BenchError if there is none.

    >>> model_named("2602B").channels
    ('smua', 'smub')
    """
    if name not in MODELS:
        raise BenchError(f"no emulated model '{name}'; there are {', '.join(MODELS)}")
    return MODELS[name]


def range_for(value: float, ranges: tuple[float, ...]) -> float:
    """Return the smallest range that holds |value|, the largest if none does.

    >>> range_for(-0.3, (0.1, 1.0, 6.0))
    1.0
    """
    size = abs(value)
    for full in ranges:
        if size <= full * (1 + 1e-9):
            return full
    return ranges[-1]
