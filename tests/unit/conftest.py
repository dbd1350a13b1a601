"""A die that goes wrong on purpose, for tests of what protocols decide; plug-ins of others; and no test is timed."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from labctl.core import plugins
from labctl.core.bias import Geometry, Nominal
from labctl.core.die import DieBody
from labctl.core.operations import Flag, Operation, Pulse, Reading, Sense

settings.register_profile("untimed", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


class ThresholdDie(DieBody):
    """Linear cells behind ideal wires that switch at thresholds of their own, in a plain loop.

    All arrays have the shape of the die and may be changed by a test: `g_p`, `g_ap` (S), `v_switch` (V,
    infinite for a stuck cell), `state` (True is P). `disturb` names the cell that flips at the k-th pulse of
    the die, `applied` counts the pulses that selected each cell, `bad` flags the next reads of a (kernel, row).
    """

    def __init__(self, geometry: Geometry, nominal: Nominal) -> None:
        self.geometry, self.nominal = geometry, nominal
        kernel = np.indices(geometry.shape)[0]
        self.g_p, self.g_ap = nominal.g_p(kernel), nominal.g_ap(kernel)
        self.v_switch = np.full(geometry.shape, 0.4)
        self.state = np.zeros(geometry.shape, np.bool_)
        self.disturb: dict[int, tuple[int, int, int]] = {}
        self.bad: dict[tuple[int, int], list[Flag]] = {}
        self.applied = np.zeros(geometry.shape, np.int64)
        self.sensed: list[int] = []
        self.pulses = 0

    def check(self, operation: Operation) -> float:
        return 0.0

    def idle(self) -> None:
        pass

    def _sense(self, sense: Sense) -> Reading:
        self.sensed.append(len(sense))
        return self._read(sense, range(len(sense)))

    def _read(self, sense: Sense, patterns: range) -> Reading:
        n, m = len(patterns), sense.cols.shape[1]
        current, flag = np.zeros((n, m)), np.zeros((n, m), np.uint8)
        for out, i in enumerate(patterns):
            kernel, row, col = int(sense.bias.kernel[i]), sense.bias.row[i], sense.bias.col[i]
            g = np.where(self.state[kernel], self.g_p[kernel], self.g_ap[kernel])
            cells = (row[:, None] - col) * g
            current[out] = cells.sum(axis=0)[sense.cols[i]]
            flag[out] = np.where(np.abs(current[out]) > sense.bias.compliance, Flag.COMPLIANCE, 0)
            for driven in np.flatnonzero(row):
                queue = self.bad.get((kernel, int(driven)), [])
                if queue:
                    flag[out] = queue.pop(0)
                    current[out] = np.nan
        return Reading(current, flag, np.zeros(n, np.uint8))

    def _pulse(self, pulse: Pulse) -> Reading:
        parts, bias = [], pulse.bias
        for i in range(len(pulse)):
            kernel = int(bias.kernel[i])
            volts = bias.row[i][:, None] - bias.col[i]
            toward_p = volts * self.geometry.polarity > 0
            hit = np.abs(volts) >= self.v_switch[kernel]
            g = np.where(self.state[kernel], self.g_p[kernel], self.g_ap[kernel])
            lines = np.concatenate([(volts * g).sum(axis=1), (volts * g).sum(axis=0)])
            self.state[kernel] = np.where(hit, toward_p, self.state[kernel])
            self.applied[kernel] += np.abs(volts) >= np.abs(volts).max() - 1e-12
            self.pulses += 1
            if self.pulses in self.disturb:
                self.state[self.disturb[self.pulses]] ^= True
            force = Flag.COMPLIANCE if np.abs(lines).max() > bias.compliance else 0
            assert pulse.verify is not None
            read = self._read(pulse.verify, range(i, i + 1))
            parts.append(Reading(read.current, read.flag, np.array([force], np.uint8)))
        return Reading.join(parts)


@pytest.fixture
def threshold_die() -> Callable[..., ThresholdDie]:
    """Return a maker of dies that go wrong on purpose."""

    def make(geometry: Geometry | None = None, nominal: Nominal | None = None) -> ThresholdDie:
        shape = geometry or Geometry(2, 5, 4)
        return ThresholdDie(shape, nominal or Nominal.alike(4e-4, 2e-4, shape.kernels))

    return make


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, str]], None]:
    """Return a function that registers objects (`module:object`) by name, as another distribution would."""

    def add(group: str, objects: dict[str, str]) -> None:
        before = plugins.registered
        more = tuple(plugins.Plugin(group, name, value, "lab-things", "1.0") for name, value in objects.items())
        monkeypatch.setattr(plugins, "registered", lambda g: (*before(g), *(more if g == group else ())))

    return add
