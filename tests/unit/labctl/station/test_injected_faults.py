"""A rehearsed night: refused on a real bench, the same by its seed, in run.json, and when it is taken up again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from instruments.bench import Bench
from instruments.bench_file import read_bench
from instruments.entry import Entry
from labctl.batch import resume
from labctl.core.errors import BenchError
from labctl.execution.plan import DiePlan
from labctl.station import composition, run_folder
from labctl.station.bench_setup import Station
from labctl.station.injected_faults import drawn, kinds, spared
from labctl.station.jobs import jobs_of
from labctl.station.rehearse import rehearsed
from labctl.station.run_spec import RunSpec
from labctl.storage.manifest import run_meta
from sim_backend.faults.dies import MADE
from sim_backend.faults.typical import LIBRARY

EXAMPLES = Path(__file__).parents[4] / "examples"
SURVEY = EXAMPLES / "survey-wafer.yaml"
BENCH = EXAMPLES / "bench-two-needles.yaml"
WITH_A_BAD_DIE = 1
"""A seed that draws one."""


@pytest.fixture(scope="module")
def plans() -> list[DiePlan]:
    return rehearsed(composition.read(SURVEY))[1]


def night(plans: list[DiePlan], seed: int) -> RunSpec:
    return drawn(composition.read(SURVEY, seed=seed), plans)


def test_a_night_is_the_same_by_its_seed_and_another_by_another(plans: list[DiePlan]) -> None:
    one, again, other = (night(plans, seed) for seed in (3, 3, 4))
    assert one.faults is not None
    assert one.faults.faults
    assert one.faults == again.faults != other.faults
    assert one.body == "simulated, with injected faults (typical, seed 3)"


def test_a_real_bench_is_refused_in_words_and_by_every_part(plans: list[DiePlan]) -> None:
    spec, rehearsed_night = composition.read(SURVEY), night(plans, 3)
    bench = composition.read(SURVEY, bench=BENCH, sim="bytes").bench
    assert bench is not None
    with pytest.raises(BenchError, match="never injected into a real bench; rehearse the night on its twin"):
        drawn(replace(spec, bench=bench), plans)
    with pytest.raises(BenchError, match="never injected into a real bench"):
        replace(spec, bench=bench, faults=rehearsed_night.faults)
    with pytest.raises(BenchError, match="never injected into a real bench"):
        Station(bench, spec.subjects, injected=True)
    with pytest.raises(BenchError, match="--faults wild: expected typical"):
        drawn(spec, plans, "wild")


def test_a_run_that_is_taken_up_again_has_the_same_faults_and_the_same_bad_dies(
    plans: list[DiePlan], tmp_path: Path
) -> None:
    spec = night(plans, WITH_A_BAD_DIE)
    assert spec.faults is not None
    assert any(fault.kind in MADE for fault in spec.faults.faults)
    run_folder.make_folder(tmp_path / "run", spec, ["labctl", "run"])
    meta = run_meta(tmp_path / "run")
    assert meta["faults"] == json.loads(json.dumps(spec.faults.plain()))
    again = resume.read(tmp_path / "run", meta)
    assert again.faults == spec.faults
    assert again.subjects == spec.subjects != composition.read(SURVEY, seed=WITH_A_BAD_DIE).subjects
    assert not resume.changes(meta, again)
    jobs = jobs_of(again, tmp_path / "run", meta)
    assert [fault for job in jobs for fault in job.faults] == list(spec.faults.faults)
    assert all(job.meta["faults"] == meta["faults"] for job in jobs)


def test_faults_happen_to_instruments_that_speak_in_lines() -> None:
    bench = composition.read(SURVEY, bench=BENCH, sim="bytes").bench
    assert kinds(None) is None
    assert kinds(bench) == {"smu": "source"}
    assert spared(bench) == spared(None) == []
    assert isinstance(bench, Bench)
    by_hand = Entry.model_validate({"driver": "manual_prober"})
    with_a_person = bench.model_copy(update={"instruments": {**bench.instruments, "table": by_hand}})
    assert kinds(with_a_person) == {"smu": "source"}
    assert spared(with_a_person) == ["table"]


@pytest.mark.parametrize(
    ("bench", "concerned", "left_out"),
    [
        ("bench-arc-two.yaml", {"board": LIBRARY}, []),
        ("bench-daffodil.yaml", {"board": "board"}, []),
        ("bench-daffodil-library.yaml", {}, ["board"]),
    ],
)
def test_faults_happen_to_boards_that_speak_in_lines_or_are_behind_a_library_whose_messages_can_fail(
    bench: str, concerned: dict[str, str], left_out: list[str]
) -> None:
    board = read_bench(EXAMPLES / bench).value
    assert kinds(board) == concerned
    assert spared(board) == left_out
