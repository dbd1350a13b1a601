"""The steps of an experiment: campaigns and trainings in one folder, each done once.

A step that is finished in the folder is not done again, after its settings have been found to be the same; a campaign
that was broken off goes on in the middle of a die, a training from its checkpoint. If the code has changed since, a
campaign is done anew, and what had been measured is set aside, not removed. How long each step took stands in
``steps.json``, so that an experiment taken up again still knows what the whole has cost.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from labctl import files
from labctl.batch import resume as resuming
from labctl.batch import session
from labctl.core.errors import BenchError, LabError, StorageError
from labctl.core.exit_codes import Status
from labctl.core.outcome import Stopped
from labctl.networks.train import Progress, Training, train
from labctl.report import summary
from labctl.station import composition
from labctl.station.rehearse import rehearsed
from labctl.station.run_spec import RunSpec, differences
from labctl.storage.manifest import run_meta
from labctl.terminal.progress import Display, duration, left


def carry_out(spec: RunSpec, folder: Path, workers: int) -> None:
    """Run a campaign into `folder`, or go on with it there, with progress; the way of `labctl run` and `labctl resume`.

    Raises:
        LabError: it did not come to its end on every die.
    """
    again = folder.exists()
    before = resuming.state_of(folder) if again else None
    spec, plans = rehearsed(resuming.read(folder, before.meta) if before else spec)
    if before:
        plans = [p for p in plans if p.die in before.unfinished]
    with Display({p.die: p.patterns for p in plans}) as display:
        carry = session.resume if again else session.start
        ending, state = carry(folder, spec, plans, sys.argv, session.RunOptions(workers, show=display.notify))
    if ending.status is Status.SUCCESS:
        return
    if ending.code == Stopped.exit_code:
        raise Stopped(f"stopped; what was measured is in {folder}, and the same command goes on from there")
    why = next((f"die {d.name}: {d.reason}" for d in state.dies.values() if d.reason), ending.text)
    raise (StorageError if ending.code == StorageError.exit_code else LabError)(f"{folder}: {why}")


class Steps:
    """Campaigns and trainings in `folder`, done at most once each.

    Args:
        folder: made unless it exists.
        workers: processes of a campaign.
        screen: where progress goes.
        total: how many steps there will be.

    Attributes:
        seconds: how long each step took, by its name.
        commits: of the code that carried out the campaigns.
    """

    def __init__(self, folder: Path, workers: int, screen: Console, total: int) -> None:
        self.folder, self._workers, self._screen, self._total = folder, workers, screen, total
        self._number, self._book = 0, folder / "steps.json"
        self.commits: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.seconds: dict[str, float] = json.loads(self._book.read_text()) if self._book.exists() else {}
        except (OSError, ValueError) as error:
            raise StorageError(f"{folder} cannot be used: {error}; name another folder with --out") from error

    def run(self, name: str, campaign: Path, overrides: Mapping[str, str]) -> Path:
        """Return the folder of the finished run `name` of the file `campaign`, which is run if it has not been.

        Raises:
            BenchError: what is there belongs to other settings.
            LabError: the run did not come to its end.
        """
        folder, spec = self.folder / name, composition.read(campaign, overrides)
        with self._step(name) as done_before:
            if (folder / "run.json").is_file():
                _same_run(folder, spec)
                done_before.append(_finished(folder))
            if not any(done_before):
                if not _can_go_on(folder):
                    _set_aside(folder)
                carry_out(spec, folder, self._workers)
        self.commits.add(str(run_meta(folder).get("git_commit", "")))
        return folder

    def train(self, name: str, config: Path, overrides: Mapping[str, str]) -> Path:
        """Return the solution file `name` of the training file `config`, trained unless the file exists.

        Raises:
            BenchError: what is there belongs to other settings; data or JAX is missing.
            Stopped: the operator asked for it; the training goes on from its checkpoint.
        """
        from labctl.terminal.signals import asked_to_stop

        path = self.folder / f"{name}.npz"
        with self._step(name) as done_before:
            if path.exists():
                _same_training(path, files.load(config, Training, overrides))
                done_before.append(True)
                return path
            stops: list[bool] = []
            with asked_to_stop(lambda: stops.append(True)):
                train(config, path, overrides=overrides, progress=self._epochs(), stop=lambda: bool(stops))
        return path

    def make(self, name: str, make: Callable[[Path], None]) -> Path:
        """Return the file `name`, made by `make` unless it exists; the name says all that decides its content."""
        path = self.folder / name
        with self._step(name) as done_before:
            done_before.append(path.exists())
            if not path.exists():
                make(path)
        return path

    @contextmanager
    def _step(self, name: str) -> Iterator[list[bool]]:
        """Count and time a step; the list that is given says whether it had been done before."""
        self._number += 1
        before: list[bool] = []
        self._say(f"step {self._number} of {self._total}: {name}")
        start = time.monotonic()
        yield before
        if any(before) and name in self.seconds:
            self._say(f"  there already, made in {duration(self.seconds[name])}")
            return
        self.seconds[name] = round(time.monotonic() - start, 1)
        self._say(f"  done in {duration(self.seconds[name])}")
        write(self._book, json.dumps(self.seconds, indent=1))

    def _epochs(self) -> Any:
        """Return what says every two seconds how far a training is."""
        shown = [time.monotonic()]

        def show(now: Progress) -> None:
            if time.monotonic() - shown[0] >= 2 or now.epoch == now.epochs:
                shown[0] = time.monotonic()
                rest = "" if now.seconds_left is None or now.epoch == now.epochs else f", {left(now.seconds_left)} left"
                self._say(f"  epoch {now.epoch} of {now.epochs}: accuracy {now.accuracy:.1%}{rest}")

        return show

    def _say(self, text: str) -> None:
        self._screen.print(text, markup=False, highlight=False)


def write(path: Path, text: str) -> None:
    """Write a whole text file, or none; StorageError says why not."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error


def examples_folder(given: Path | None) -> Path:
    """Return the folder of the example files: the one given, the one here, or that of the checkout.

    Raises:
        BenchError: there is none; a wheel does not hold them.
    """
    places = [given] if given else [Path("examples"), Path(__file__).parents[2] / "examples"]
    for place in places:
        if (place / "overnight-36-dies.yaml").is_file():
            return place.resolve()
    raise BenchError(
        f"{places[0]} does not hold the example files; name the folder 'examples' of a checkout with --examples"
    )


def _finished(folder: Path) -> bool:
    """Return whether every die of a run came to its end."""
    return (folder / "run.h5").is_file() and summary.summary(folder)["outcome"] == Status.SUCCESS.value


def _can_go_on(folder: Path) -> bool:
    """Return whether a run that was broken off can be taken up where it was: nothing it is made of has changed."""
    if not (folder / "journal.db").is_file():
        return False
    state = resuming.state_of(folder)
    return bool(state.unfinished) and not resuming.changes(state.meta, resuming.read(folder, state.meta))


def _set_aside(folder: Path) -> None:
    if not folder.exists():
        return
    number = 1
    while (aside := folder.with_name(f"{folder.name}.unfinished-{number}")).exists():
        number += 1
    try:
        folder.rename(aside)
    except OSError as error:
        raise StorageError(f"{folder} cannot be set aside as {aside.name}: {error.strerror or error}") from error


def _same_run(folder: Path, spec: RunSpec) -> None:
    """Raise BenchError unless the run in `folder` is `spec`: by content and not by path, as folders may be moved."""
    here, then = json.loads(json.dumps(spec.to_json())), run_meta(folder)
    digests = sorted(files.digest(raw) for raw in spec.files.values())
    other = list(differences({key: then.get(key) for key in here}, here))
    if not other and digests != sorted(kept["sha256"] for kept in then["files"].values()):
        other = ["a file has changed"]
    if other:
        raise BenchError(
            f"{folder} is another run ({'; '.join(other[:3])}); expected the same, to go on from it: name a new folder "
            "with --out"
        )


def _same_training(path: Path, wanted: Training) -> None:
    """Raise BenchError unless the networks in `path` were trained as `wanted` says."""
    from labctl.files.arrays import read_npz

    stored = json.loads(str(read_npz(path, lambda key: key == "training").get("training", "{}")))
    here = wanted.model_dump(mode="json", exclude={"survey"})
    if here != stored:
        odd = sorted(key for key in {*here, *stored} if here.get(key) != stored.get(key))
        raise BenchError(
            f"{path} was trained with another {', '.join(odd)}; expected the same, to go on from it: name a new folder "
            "with --out"
        )
