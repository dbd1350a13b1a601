"""Errors of gain: drawn once for each channel, quantity and range, so that averaging does not help."""

import numpy as np
import pytest

from sim_backend.emulators.meter_gain import MeterGain
from tests.unit.sim_backend.emulators.test_k2600 import R, ask, make


def test_gains_have_the_spread_and_none_is_like_another() -> None:
    drawn = [
        MeterGain(seed, place, 1e-3)(quantity, full)
        for seed in range(20)
        for place in (3, 4)
        for quantity in (0, 1)
        for full in 10.0 ** -np.arange(10)
    ]
    logs = np.log(drawn)
    assert logs.std() == pytest.approx(1e-3, rel=5 / np.sqrt(2 * len(logs)))
    assert abs(logs.mean()) < 5e-3 / np.sqrt(len(logs))
    assert len(set(drawn)) == len(drawn) == 800
    assert MeterGain(1, 3, 0.0)(1, 1e-3) == 1.0


def test_repeated_readings_do_not_average_it_and_ranges_differ() -> None:
    smu = make(ideal=False, seed=5, gain=0.01)
    ask(smu, "smua.source.levelv = 0.5")
    ask(smu, "smua.source.output = 1")
    ratio = []
    for full in ("1e-4", "1e-3"):
        ask(smu, f"smua.measure.rangei = {full}")
        readings = [float(ask(smu, "print(smua.measure.i())")) for _ in range(60)]
        assert np.std(readings) < 1e-4 * np.mean(readings)
        ratio.append(np.mean(readings) / (0.5 / R))
    assert min(abs(r - 1) for r in ratio) > 1e-4
    assert ratio[0] != pytest.approx(ratio[1], abs=1e-4)
    for factor, full in zip(ratio, (1e-4, 1e-3), strict=True):
        assert factor == pytest.approx(smu.smus["smua"]._gain(1, full), abs=5e-5)
    # without it, and on an ideal instrument, the mean is the current
    for other in (make(ideal=False, seed=5), make(gain=0.01)):
        ask(other, "smua.source.levelv = 0.5")
        ask(other, "smua.source.output = 1")
        assert np.mean([float(ask(other, "print(smua.measure.i())")) for _ in range(20)]) == pytest.approx(
            0.5 / R, rel=2e-5
        )
