"""What is refused before a run does anything, whatever its stages are."""

from pathlib import Path

import numpy as np
import pytest

from labctl.core.errors import BenchError, LimitError
from labctl.core.operations import Glance
from labctl.execution.plan import rehearse
from labctl.station import composition
from labctl.station.rehearse import rehearsed
from labctl.station.simulated import simulated
from protocols.bias import read_bias
from protocols.survey import Survey

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


def test_a_broken_limit_names_the_line_of_the_key_that_asks_for_it(tmp_path):
    campaign = tmp_path / "c.yaml"
    keys = "v_towards_p: 700 mV, v_towards_ap: 700 mV, width: 10 ms, compliance: 10 mA, v_count: 350 mV"
    campaign.write_text(
        f"name: c\ndies: [{{name: D, file: {EXAMPLES / 'dies' / 'ideal-1x1.yaml'}}}]\n"
        f"limits: {{{keys}, pulses_per_cell: 1000}}\nstages:\n  - survey:\n      v_start: 420 mV\n      v_max: 800 mV\n"
    )
    with pytest.raises(LimitError, match=r"c\.yaml:7: stage survey of die D, v_max: cell voltage towards P: 0\.8 V"):
        rehearsed(composition.read(campaign))
    with pytest.raises(LimitError, match=r"c\.yaml:5: stage survey of die D: .* 0\.02 s asked for"):  # of two keys
        rehearsed(composition.read(campaign, {"stages.0.survey.v_max": "500 mV", "stages.0.survey.width": "20 ms"}))


class Secretive(Survey):
    """A survey with a read that nobody writes down, which it does not announce."""

    name = "secretive"

    def run(self, die, history):
        yield from super().run(die, history)
        bias = read_bias(die.geometry, *(np.zeros(1, np.int64),) * 3, 0.1)
        die.sense(Glance(bias, np.zeros(1, np.int64)))


def test_a_protocol_that_does_not_say_what_it_leaves_unwritten_is_refused():
    spec = composition.read(EXAMPLES / "survey-wafer.yaml")
    subject, limits = spec.subjects[0], spec.limits
    with pytest.raises(BenchError, match="'secretive' takes readings that nobody writes down and does not say so"):
        rehearse("D", simulated(subject), limits, [Secretive(v_start=0.3, v_max=0.4, v_step=0.05)])
