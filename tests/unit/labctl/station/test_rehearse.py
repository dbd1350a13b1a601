"""What is refused before a run does anything, whatever its stages are."""

from pathlib import Path

import pytest

from labctl.core.errors import BenchError
from labctl.station import composition
from labctl.station.rehearse import rehearsed

EXAMPLES = Path(__file__).parents[4] / "examples"


def test_readings_of_a_bench_are_always_written_down():
    given = {"wafer.only": "[W01-x3y2]", "stages.1.chip_inference.readout.keep": "figures"}
    bench = EXAMPLES / "bench-daffodil.yaml"
    spec = composition.read(EXAMPLES / "overnight-36-dies.yaml", given, bench=bench, sim="bytes")
    with pytest.raises(BenchError, match=r"overnight-36-dies.yaml:\d+: stage chip_inference keeps figures only"):
        rehearsed(spec)
    _, (plan,) = rehearsed(composition.read(EXAMPLES / "overnight-36-dies.yaml", given))
    _, (whole,) = rehearsed(
        composition.read(EXAMPLES / "overnight-36-dies.yaml", given | {next(reversed(given)): "all"})
    )
    assert plan.stages[1].reads == whole.stages[1].reads
    assert plan.stages[1].bytes < whole.stages[1].bytes - 1_000_000
