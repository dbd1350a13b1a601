"""Data of the models of the 2600B family.

Ranges and channels from the public data sheets of the family; not checked on an instrument.
"""

from dataclasses import dataclass

from labctl.core.units import Second

SHORTEST_PULSE: Second = 200e-6
"""Of a script with delays; the manual uses its pulse functions with no less either."""


@dataclass(frozen=True)
class SourceModel:
    """Data of one model.

    Args:
        channels: its channels.
        ranges_v, ranges_i: V and A, ascending.
        output_enable: the digital output-enable line is ignored unless it is switched on.
    """

    channels: tuple[str, ...]
    ranges_v: tuple[float, ...]
    ranges_i: tuple[float, ...]
    output_enable: bool = False


_I_HIGH = (100e-9, 1e-6, 10e-6, 100e-6, 1e-3, 10e-3, 100e-3, 1.0)
_ONE, _TWO = ("smua",), ("smua", "smub")
_V40, _V200 = (0.1, 1.0, 6.0, 40.0), (0.2, 2.0, 20.0, 200.0)

MODELS: dict[str, SourceModel] = {
    "2601B": SourceModel(_ONE, _V40, (*_I_HIGH, 3.0), True),
    "2602B": SourceModel(_TWO, _V40, (*_I_HIGH, 3.0), True),
    "2604B": SourceModel(_TWO, _V40, (*_I_HIGH, 3.0), True),
    "2611B": SourceModel(_ONE, _V200, (*_I_HIGH, 1.5)),
    "2612B": SourceModel(_TWO, _V200, (*_I_HIGH, 1.5)),
    "2614B": SourceModel(_TWO, _V200, (*_I_HIGH, 1.5)),
    "2634B": SourceModel(_TWO, _V200, (1e-9, 10e-9, *_I_HIGH, 1.5)),
    "2635B": SourceModel(_ONE, _V200, (100e-12, 1e-9, 10e-9, *_I_HIGH, 1.5)),
    "2636B": SourceModel(_TWO, _V200, (100e-12, 1e-9, 10e-9, *_I_HIGH, 1.5)),
}
