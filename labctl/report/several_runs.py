"""Several runs beside each other: which wafers they were on, what changed from one to the next, how well they repeat.

Everything is from the journals of the runs, where bins and figures of dies stand that have ended; of the files of dies
one is opened per run, for the kind of its dies. Runs are compared die by die where wafer, lot and kind of die are one.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from labctl.config.bins import is_good, is_measured
from labctl.core.die_state import ACTIVE, State
from labctl.core.errors import BenchError, LabError
from labctl.core.figure import Figure, Figures
from labctl.report.rehearsal import rehearsal_text
from labctl.report.run_folder import left_out, who
from labctl.storage.identity import Identity, run_id_of
from labctl.storage.manifest import checked
from labctl.storage.results import open_run
from labctl.storage.run_log import DieState, RunState, read_state


@dataclass(frozen=True)
class OneRun:
    """A run among others.

    Args:
        label: its letter on the page.
        wafer: which it was on; `on` names it in words, the same for all runs of one wafer.
        kind: of its dies, in words; "" if no file of a die could be read.
        dies: by name, those of the campaign.
        notes: what there is to know before its numbers are compared.
    """

    label: str
    folder: Path
    state: RunState
    wafer: Identity
    on: str
    kind: str
    dies: Mapping[str, DieState]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of its campaign."""
        return str(self.state.meta.get("name", self.folder.name))

    @property
    def judged(self) -> list[DieState]:
        """The dies that have a bin of good or bad: of these the yield is a share."""
        return [die for die in self.dies.values() if die.last and die.bin and not is_measured(die.last.hard)]

    @property
    def good(self) -> int:
        """Dies in hard bin 1."""
        return sum(is_good(die.last.hard) for die in self.judged if die.last)

    @property
    def measured(self) -> int:
        """Dies that were measured and that nothing judges."""
        return sum(is_measured(die.last.hard) for die in self.dies.values() if die.last)

    def standing(self, die: str) -> str:
        """Return the bin of a die, its state where it has none; "left out" of one that the campaign leaves out."""
        if die in left_out(self.state):
            return "left out"
        state = self.dies[die].state
        return self.dies[die].bin or (state.value if state not in ACTIVE else "not ended")

    def tried(self, die: str) -> bool:
        """Return whether a die was begun."""
        return die in self.dies and bool(self.dies[die].tries)

    def value(self, die: str, figure: str) -> float:
        """Return a figure of a die, in SI units, NaN if it has none."""
        known = self.dies.get(die)
        return known.last.figures.get(figure, math.nan) if known and known.last else math.nan


@dataclass(frozen=True)
class Wafer:
    """Runs of one wafer whose dies are of one kind, in order of time."""

    name: str
    kind: str
    runs: tuple[OneRun, ...]

    @property
    def dies(self) -> list[str]:
        """The dies of all of these runs, in order."""
        return list(dict.fromkeys(name for run in self.runs for name in run.dies))

    @property
    def pairs(self) -> list[tuple[OneRun, OneRun]]:
        """The first run with each later one."""
        return [(self.runs[0], later) for later in self.runs[1:]]


@dataclass(frozen=True)
class Runs:
    """Several runs.

    Args:
        runs: those that could be read, in order of time.
        unread: why others could not be.
        wafers: the runs by wafer and kind of die.
        figures: that a die of them has, in order.
    """

    runs: tuple[OneRun, ...]
    unread: tuple[str, ...]
    wafers: tuple[Wafer, ...]
    figures: tuple[Figure, ...]

    @property
    def kinds(self) -> list[list[Wafer]]:
        """The wafers by kind of die."""
        return [[w for w in self.wafers if w.kind == kind] for kind in dict.fromkeys(w.kind for w in self.wafers)]

    @property
    def notes(self) -> list[str]:
        """What there is to know before numbers are compared."""
        return [*(f"{run.label}: {note}" for run in self.runs for note in run.notes), *_mixed(self)]


def gather(folders: Sequence[Path]) -> Runs:
    """Return runs beside each other; one that cannot be read is left out, with the reason.

    Raises:
        BenchError: fewer than two runs are named, or one twice, a copy of its folder included.
        LabError: none can be read.
    """
    same = next((pair for pair in combinations(folders, 2) if pair[0].resolve() == pair[1].resolve()), None)
    if same:
        raise BenchError(f"{same[1]} is named twice; expected different runs")
    states: list[tuple[Path, RunState]] = []
    errors: list[LabError] = []
    for folder in folders:
        try:
            state = read_state(folder)
            checked(state.meta, folder / "journal.db")
            Figures.of_run(state.meta)
        except LabError as error:
            errors.append(error)
        else:
            states.append((folder, state))
    if not states:
        raise errors[0]
    folders_by_id: dict[str, Path] = {}
    for folder, state in states:
        first = folders_by_id.setdefault(run_id_of(state.meta), folder)
        if first is not folder:
            raise BenchError(f"{folder} and {first} are the same run, one a copy of the other; expected different runs")
    states.sort(key=lambda one: one[1].since)
    runs = tuple(_run(label, folder, state) for label, (folder, state) in zip(_labels(), states, strict=False))
    groups: dict[tuple[str, str], list[OneRun]] = {}
    for run in runs:
        groups.setdefault((run.on, run.kind), []).append(run)
    wafers = tuple(Wafer(on, kind, tuple(group)) for (on, kind), group in groups.items())
    return Runs(runs, tuple(map(str, errors)), wafers, tuple(_figures(runs)))


def _labels() -> Iterator[str]:
    """Yield A, B, ... Z, AA, AB, ..."""
    yield from ascii_uppercase
    yield from (a + b for a in ascii_uppercase for b in ascii_uppercase)


def _run(label: str, folder: Path, state: RunState) -> OneRun:
    wafer = Identity.of(state)
    named = wafer.places or any(die.get("wafer") for die in state.meta["dies"])
    on = f"wafer {wafer.wafer}{f' of lot {wafer.lot}' if wafer.lot else ''}" if named else "no wafer"
    dies = {die.name: die for die in state.subjects}
    notes = [text] if (text := rehearsal_text(state)) else []
    if retest := state.meta.get("retest"):
        bins = ", ".join(map(str, dict(retest).get("bins", ())))
        notes.append(f"it measured dies of an earlier run again, of bins {bins}, and its yield is of these alone")
    if state.exit_code is None:
        notes.append("it goes on at this moment" if who(folder, state) else "it was broken off, and can be resumed")
    waiting = sum(die.state in (*ACTIVE, State.PENDING) for die in dies.values())
    notes += [f"{waiting} of its {len(dies)} dies have not ended"] if waiting and state.exit_code is not None else []
    suspect = sum(bool(die.suspect) for die in dies.values())
    notes += [f"the figures of {suspect} of its dies are in doubt"] if suspect else []
    kind, why = _kind(folder, dies)
    notes += [f"what its dies are cannot be read: {why}"] if why else []
    return OneRun(label, folder, state, wafer, on, kind, dies, tuple(notes))


def _kind(folder: Path, dies: Collection[str]) -> tuple[str, str]:
    """Return the kind of the dies of a run in words, by the first that can be read; or why the last of them cannot."""
    why = ""
    try:
        run = open_run(folder)
        for name in (name for name in run.dies if name in dies):
            try:
                return kind_text(run.die(name).meta.get("description") or {}), ""
            except LabError as error:
                why = str(error)
    except LabError as error:
        why = str(error)
    return "", why


def kind_text(description: Mapping[str, Any]) -> str:
    """Return what a die is, as far as its description says: kernels, cells, diameters.

    >>> kind_text({"geometry": {"kind": "1T1R", "kernels": 2, "n_rows": 3, "n_cols": 4}})
    '1T1R, 2 kernels of 3 x 4 cells'
    """
    geometry, junction = description.get("geometry") or {}, description.get("junction") or {}
    parts = [str(geometry["kind"])] if geometry.get("kind") else []
    if {"n_rows", "n_cols"} <= set(geometry):
        cells = f"{geometry['n_rows']} x {geometry['n_cols']} cells"
        kernels = geometry.get("kernels", 1)
        parts.append(f"{kernels} kernels of {cells}" if kernels > 1 else cells)
    diameters = junction.get("kernel_diameters") or [d for d in [junction.get("diameter")] if d]
    parts += ["/".join(dict.fromkeys(f"{d * 1e9:.4g}" for d in diameters)) + " nm"] if diameters else []
    return ", ".join(parts)


def _figures(runs: Sequence[OneRun]) -> Iterator[Figure]:
    """Yield the figures of the dies, each as the newest run that has it declares it."""
    of_runs = [(Figures.of_run(run.state.meta), run) for run in runs]
    chosen: dict[str, Figure] = {}
    for declared, run in of_runs:
        names = [name for die in run.dies.values() if die.last for name in die.last.figures]
        chosen |= {name: declared[name] for name in declared.in_order(names)}
    yield from chosen.values()


def _mixed(these: Runs) -> Iterator[str]:
    """Yield what differs among the runs, so that their numbers are not those of one thing."""
    for what, of in (("kinds of dies", _kind_of), ("bodies, that is, what the dies were,", _body), ("stages", _stages)):
        if differing := _differing(these.runs, of):
            yield f"the {what} differ ({differing})"
    for wafer in these.wafers:
        of_wafer = f"on {wafer.name} " if len(these.wafers) > 1 else ""
        if len({_rules(run) for run in wafer.runs}) > 1:
            yield f"the rules of bins {of_wafer}differ, so that a die may change its bin without having changed"
        simulated = [run for run in wafer.runs if _body(run).startswith("simulated")]
        if seeds := _differing(simulated, _seed):
            yield (
                f"the dies {of_wafer}are simulated with several seeds ({seeds}): these are other dies, and what "
                "differs is no repeatability"
            )
        for name in wafer.dies:
            places = {run.dies[name].at for run in wafer.runs if name in run.dies}
            if len(places) > 1:
                shown = " and ".join(f"column {x}, row {y}" for x, y in sorted(places))
                yield f"die {name} has several places, {shown}: the maps of its wafer are not the same"
                break


def _differing(runs: Sequence[OneRun], of: Callable[[OneRun], str]) -> str:
    """Return which runs have which text, "" if all that have one have the same."""
    texts = {text: [run.label for run in runs if of(run) == text] for text in map(of, runs) if text}
    return "; ".join(f"{', '.join(labels)}: {text}" for text, labels in texts.items()) if len(texts) > 1 else ""


def _kind_of(run: OneRun) -> str:
    return run.kind


def _body(run: OneRun) -> str:
    return str(run.state.meta.get("body", ""))


def _seed(run: OneRun) -> str:
    return str(run.state.meta.get("seed", ""))


def _stages(run: OneRun) -> str:
    return " then ".join(str(stage.get("procedure", "")) for stage in run.state.meta.get("stages", ())) or "none"


def _rules(run: OneRun) -> str:
    return repr([(rule.get("bin"), rule.get("when")) for rule in run.state.meta.get("bins", ())])


def bins_of(these: Runs) -> Counter[str]:
    """Return the bins, or states, of the dies of all runs."""
    return Counter(run.standing(name) for run in these.runs for name in run.dies)
