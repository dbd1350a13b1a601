"""Data of the models of the Series 2400.

From the 2400 Series user's manual (2400S-900-01 Rev. K), 18-74 and 3-12; not checked on an instrument. The 2430, with
its pulse mode, is left out.
"""

from dataclasses import dataclass

from labctl.core.units import Ampere, Second, Volt

SHORTEST_PULSE: Second = 5e-3
"""[?] Of a list of levels: what the instrument adds to its delay is known to some 0.3 ms, a tenth of this with room."""
LONGEST_PULSE: Second = 10.0
"""That is left to the instrument: while it lasts, a link without a device clear cannot end it."""


@dataclass(frozen=True)
class SourceModel:
    """Data of one model.

    Args:
        ranges_v, ranges_i: V and A, ascending.
        protection: settings of the voltage protection, ascending, V.
        most_i: largest current range with the highest voltage range, A.
    """

    ranges_v: tuple[Volt, ...]
    ranges_i: tuple[Ampere, ...]
    protection: tuple[Volt, ...]
    most_i: Ampere


_LOW = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
_HIGH = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)

MODELS: dict[str, SourceModel] = {
    "2400": SourceModel((0.2, 2.0, 20.0, 200.0), _LOW, (20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 160.0), 0.1),
    "2400-LV": SourceModel((0.2, 2.0, 20.0), _LOW, (20.0,), 1.0),
    "2401": SourceModel((0.2, 2.0, 20.0), _LOW, (20.0,), 1.0),
    "2410": SourceModel(
        (0.2, 2.0, 20.0, 1000.0), (*_LOW[:4], 0.02, 0.1, 1.0), (20.0, 40.0, 100.0, 200.0, 300.0, 400.0, 500.0), 0.02
    ),
    "2420": SourceModel((0.2, 2.0, 20.0, 60.0), (*_HIGH, 3.0), (6.0, 12.0, 18.0, 24.0, 30.0, 36.0, 48.0), 1.0),
    "2425": SourceModel((0.2, 2.0, 20.0, 100.0), (*_HIGH, 3.0), (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0), 1.0),
    "2440": SourceModel((0.2, 2.0, 10.0, 40.0), (*_HIGH, 5.0), (4.0, 8.0, 12.0, 16.0, 20.0, 24.0, 32.0), 1.0),
}
