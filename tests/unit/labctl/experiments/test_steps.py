"""Steps of an experiment: none is done twice, and one that was stopped goes on."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from labctl.batch.exit_status import Ending
from labctl.batch.requests import Request, ask
from labctl.core.errors import BenchError, InstrumentError, LabError
from labctl.core.events import RequestKind
from labctl.core.outcome import Stopped
from labctl.experiments import pictures, tables, wine_passive
from labctl.experiments.steps import Steps, examples_folder
from labctl.networks.solutions import load, save
from labctl.storage.run_log import read_state
from labctl.terminal.progress import Display

EXAMPLES = Path(__file__).parents[4] / "examples"


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.mark.slow
def test_networks_for_wine_are_made_once_and_go_through_the_campaign(tmp_path: Path, monkeypatch) -> None:
    few = tmp_path / "few.npz"
    save(few, load(EXAMPLES / "wine-solutions.npz").take(np.arange(3)))
    settings = wine_passive.WineSettings(solutions=str(few), set={"dies": dies("D55", "D80")})

    def again() -> wine_passive.Wine:
        return wine_passive.reproduce(settings, Steps(tmp_path / "out", 1, quiet(), 1), EXAMPLES / "wine-passive.yaml")

    first = again()
    assert [a.diameter for a in first.arrays] == pytest.approx([55e-9, 80e-9])
    for array in first.arrays:
        assert array.cells.tolist() == [192] * 3
        assert array.fidelity.min() > 0.97
        assert array.accuracy["tuned_train"].mean() > 0.9
        assert array.figures()["software_tuned_train"] >= 0.95
    monkeypatch.setattr("labctl.experiments.steps.carry_out", refuse)
    second = again()
    assert second.to_json() == first.to_json()
    rows = tables.wine_rows(second)
    assert [row[0] for row in rows] == ["55 nm", "80 nm", "software"]
    assert len(tables.wine_csv(second).splitlines()) == 1 + 2 * 3
    assert len(pictures.draw_wine(second, tmp_path)) == 4


def dies(*names: str) -> str:
    file = json.dumps(str(EXAMPLES / "dies" / "passive-15x15.yaml"))
    return (
        "["
        + ", ".join(f"{{name: {n}, file: {file}, change: {{junction: {{diameter: {n[1:]} nm}}}}}}" for n in names)
        + "]"
    )


def refuse(*_: object) -> None:
    raise AssertionError("a finished step was done again")


def test_a_folder_of_other_settings_is_refused_and_an_unfinished_run_set_aside(tmp_path: Path) -> None:
    few = tmp_path / "few.npz"
    save(few, load(EXAMPLES / "wine-solutions.npz").take(np.arange(1)))
    given = {"dies": dies("D80"), "solutions": str(few)}
    campaign = EXAMPLES / "wine-passive.yaml"

    def steps() -> Steps:
        return Steps(tmp_path / "out", 1, quiet(), 1)

    run = steps().run("campaign", campaign, given)
    with pytest.raises(BenchError, match=r"is another run \(seed is 5, it was 2112\)"):
        steps().run("campaign", campaign, {**given, "seed": "5"})
    other = tmp_path / "other.npz"
    save(other, load(EXAMPLES / "wine-solutions.npz").take(np.arange(1, 2)))
    with pytest.raises(BenchError, match=r"another run \(stages\.1\.inputs\.solutions\.0 is "):
        steps().run("campaign", campaign, {**given, "solutions": str(other)})
    (run / "run.h5").unlink()
    steps().run("campaign", campaign, given)
    assert (tmp_path / "out" / "campaign" / "run.h5").is_file()
    assert (tmp_path / "out" / "campaign.unfinished-1" / "run.json").is_file()
    assert set(json.loads((tmp_path / "out" / "steps.json").read_text())) == {"campaign"}


@pytest.mark.slow
def test_a_campaign_that_was_stopped_goes_on_in_the_middle(tmp_path: Path, monkeypatch) -> None:
    few, whole = tmp_path / "few.npz", {}
    save(few, load(EXAMPLES / "wine-solutions.npz").take(np.arange(2)))
    given = {"dies": dies("D65", "D80"), "solutions": str(few)}

    def run(name: str) -> Path:
        return Steps(tmp_path / "out", 1, quiet(), 1).run(name, EXAMPLES / "wine-passive.yaml", given)

    class Impatient(Display):
        def notify(self, die: str, what: str, detail: object) -> None:
            if (die, what, detail) == ("D65", "stage", "network"):
                ask(tmp_path / "out" / "broken", Request(RequestKind.STOP, by="somebody"))

    with monkeypatch.context() as patched:
        patched.setattr("labctl.experiments.steps.Display", Impatient)
        with pytest.raises(Stopped, match="goes on from there"):
            run("broken")
    assert not (tmp_path / "out" / "broken" / "dies" / "D80").exists()
    for name in ("broken", "whole"):
        whole[name] = [a.accuracy["tuned_test"].tolist() for a in wine_passive.read(run(name))]
    assert whole["broken"] == whole["whole"]
    assert read_state(tmp_path / "out" / "broken").resumes == 1
    assert not list((tmp_path / "out").glob("*.unfinished-*"))


def test_a_step_that_fails_says_on_which_die_and_why(tmp_path: Path, monkeypatch) -> None:
    def gone(*_: object) -> None:
        raise InstrumentError("the probe is gone")

    def again(name: str) -> None:
        Steps(tmp_path, 1, quiet(), 1).run(name, EXAMPLES / "wine-passive.yaml", {"dies": dies("D80")})

    monkeypatch.setattr("labctl.station.simulated.Simulated.approach", gone)
    with pytest.raises(LabError, match="die D80: the probe is gone"):
        again("campaign")
    monkeypatch.setattr("labctl.batch.session.start", lambda *_: (Ending(4), None))
    with pytest.raises(Stopped, match="the same command goes on from there"):
        again("other")


def test_examples_are_found_or_asked_for(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert examples_folder(None) == EXAMPLES.resolve()
    with pytest.raises(BenchError, match="--examples"):
        examples_folder(tmp_path)
