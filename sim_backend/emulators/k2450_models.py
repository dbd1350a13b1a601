"""Data of the 2450, 2460 and 2461: ranges, and the steps of the voltage protection.

Source: reference manuals 2450-901-01 and 2461-901-01, :SOURce:RANGe, :SOURce:PROTection, limits.
"""

from sim_backend.emulators.k2400_models import Model2400

_PROTECTION = (2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 140.0, 160.0, 180.0)
_LOW = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
_HIGH = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 4.0, 5.0, 7.0)
_V100 = (0.2, 2.0, 7.0, 10.0, 20.0, 100.0)

MODELS = {
    model.name: model
    for model in (
        Model2400("2450", (0.02, 0.2, 2.0, 20.0, 200.0), _LOW, _PROTECTION, 0.1),
        Model2400("2460", _V100, _HIGH, _PROTECTION[:8], 1.0),
        Model2400("2461", _V100, _HIGH, _PROTECTION[:8], 1.0),
    )
}
