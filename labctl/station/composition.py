"""From a campaign file to jobs: the part of the composition root that knows both files and bodies."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from instruments.bench import Bench
from instruments.fiducial import Fiducial, fits
from instruments.open_bench import planned_die
from labctl import files
from labctl.config.campaign import Campaign, subsites_of
from labctl.config.wafer_file import WaferFile, lay_out
from labctl.core.die import Die
from labctl.core.errors import BenchError
from labctl.core.names import file_name
from labctl.core.procedure import Procedure
from labctl.core.site import Site
from labctl.execution.die_job import Job, for_die
from labctl.networks import datasets, solutions
from labctl.networks.trained_network import TrainedFile, read_trained
from labctl.station.bench_setup import Station
from labctl.station.reference_visit import stages_of
from labctl.station.registry import campaign_model, registry
from labctl.station.simulated import simulated
from labctl.storage.stress_ledger import ledger_path
from labctl.wafer_maps.drawing import describe
from protocols.weights import Layer, Solution
from sim_backend.description import DieDescription


@dataclass(frozen=True)
class Prepared:
    """A campaign that has been read and found sound, and what it is made of.

    Args:
        subjects: the dies, where they are on the map and what world they live in.
        procedures: the stages.
        sources: every file read, with its bytes.
        own: what differs in the procedures of a die, by its name: weights trained for it alone.
        others: dies of the wafer that are not tested: left out, or not asked for.
        fiducials: places at which the prober proves the map before the first die.
        map_drawing: what the suite understood of a map file, in lines of text; nothing if there is none.
        golden: the die that is visited again and again, one of `others`; `visit`: the stages of a visit.
    """

    campaign: Campaign
    subjects: tuple[Site, ...]
    procedures: tuple[Procedure, ...]
    sources: tuple[files.Loaded[Any], ...]
    own: Mapping[str, Mapping[str, Any]]
    overrides: Mapping[str, str] = field(default_factory=dict)
    bench: Bench | None = None
    sim: str | None = None
    bench_file: Path | None = None
    others: tuple[Site, ...] = ()
    fiducials: tuple[Fiducial, ...] = ()
    map_drawing: tuple[str, ...] = ()
    golden: Site | None = None
    visit: tuple[Procedure, ...] = ()

    @property
    def skipped(self) -> tuple[Site, ...]:
        """Dies that the campaign means and leaves out; `excluded` says why."""
        chosen = None if self.campaign.wafer is None else self.campaign.wafer.only
        return tuple(
            s for s in self.others if s.excluded and s is not self.golden and (chosen is None or s.die in chosen)
        )

    @property
    def ledger(self) -> Path | None:
        """Where the lab keeps the stress of its dies; None for simulated ones."""
        if self.bench is None or self.bench_file is None or self.sim is not None:
            return None
        return ledger_path(self.bench_file, self.bench.ledger, os.environ)

    @property
    def body(self) -> str:
        """What the dies are: simulated, on a bench, or on its twin."""
        if self.bench is None:
            return "simulated"
        return f"bench '{self.bench.name}'" + (f", its twin over {self.sim}" if self.sim else "")

    def predictor(self, subject: Site) -> Die:
        """Return the die whose `check` predicts what `subject` will take; nothing is connected."""
        if self.bench is None:
            return simulated(subject)
        self.bench.wiring.fits(subject.description.shape)
        return planned_die(self.bench, subject.description.nominal, subject.description.polarity)

    @property
    def station(self) -> Station | None:
        """The bench with what is tested on it, None for simulated dies."""
        if self.bench is None:
            return None
        return Station(self.bench, self.subjects, self.others, self.fiducials, self.sim, self.ledger)

    def some(self, only: Sequence[str] | None) -> "Prepared":
        """Return the campaign with the dies of `only`; BenchError if there is no such die."""
        if only is None:
            return self
        if unknown := sorted(set(only) - {s.name for s in self.subjects}):
            raise BenchError(f"there is no die {unknown[0]}; there are {', '.join(s.name for s in self.subjects)}")
        return replace(self, subjects=tuple(s for s in self.subjects if s.name in only))

    def jobs(self, folder: Path, meta: Mapping[str, Any]) -> list[Job]:
        """Return one job per die."""
        return [
            Job(
                folder,
                subject,
                self.campaign.limits,
                self.campaign.bin_rules,
                dict(meta),
                self.own.get(subject.name, {}),
                ledger=self.ledger,
            )
            for subject in self.subjects
        ]

    def visit_job(self, folder: Path, meta: Mapping[str, Any]) -> Job | None:
        """Return the job of a visit of the golden die, None if there is none."""
        if self.golden is None:
            return None
        return Job(folder, self.golden, self.campaign.limits, meta=dict(meta), ledger=self.ledger, stages=self.visit)

    def procedures_for(self, subject: Site) -> tuple[Procedure, ...]:
        """Return the stages of one die, with its own weights if it has some."""
        return for_die(self.procedures, self.own.get(subject.name, {}))


def read(
    path: Path,
    overrides: Mapping[str, str] | None = None,
    seed: int | None = None,
    bench: Path | None = None,
    sim: str | None = None,
) -> Prepared:
    """Read a campaign file, the bench file if any, and everything they name; BenchError tells all that is wrong."""
    overrides = dict(overrides or {})
    if seed is not None:
        overrides["seed"] = str(seed)
    loaded = files.read(path, campaign_model(), overrides)
    campaign = loaded.value
    sources: list[files.Loaded[Any]] = [loaded]
    everything, fiducials, drawing = _subjects(loaded, sources)
    chosen = None if campaign.wafer is None else campaign.wafer.only
    names = [s.name.lower() for s in everything]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise BenchError(f"{path}: two dies or subsites are called {twice[0]}; expected a name of its own for each")
    golden = _golden(path, campaign, everything)
    tested = [s for s in everything if not s.excluded and (chosen is None or s.die in chosen)]
    if not tested:
        raise BenchError(f"{path}: every die is left out; {everything[0].name}: {everything[0].excluded}")
    subjects = tuple(s for s in tested if s is not golden)
    if not subjects:
        raise BenchError(f"{path}: there is no die but the golden one, which is only visited")
    found_bench: Bench | None = None
    if bench is not None:
        read_bench = files.read(bench, Bench)
        found_bench = read_bench.value
        fits(found_bench, fiducials)
        sources.append(read_bench)
    weights = read_trained(campaign.solutions)
    given = _inputs(campaign, weights)
    built: list[Procedure] = []
    for stage in campaign.stages:  # type: ignore[attr-defined]
        name, parameters = stage.procedure()
        kind = registry()[name]
        own = {key: getattr(parameters, key) for key in type(parameters).model_fields}
        built.append(kind(**own, **{key: given[key] for key in kind.model_fields if key not in own}))
    own_weights = {s.name: _weights(weights.for_die(s.name)) for s in subjects} if weights.dies else {}
    return Prepared(
        campaign,
        subjects,
        tuple(built),
        tuple(sources),
        own_weights,
        overrides,
        found_bench,
        sim,
        bench_file=bench,
        others=tuple(s for s in everything if s.name not in {tested.name for tested in subjects}),
        fiducials=fiducials,
        map_drawing=drawing,
        golden=golden,
        visit=() if campaign.batch.golden is None else stages_of(campaign.batch.golden, built),
    )


def _golden(path: Path, campaign: Campaign, everything: Sequence[Site]) -> Site | None:
    """Return the golden die; BenchError if there is none of its name."""
    said = campaign.batch.golden
    found = None if said is None else next((s for s in everything if s.name == said.die), None)
    if said is not None and found is None:
        names = ", ".join(s.name for s in everything)
        raise BenchError(f"{path}: batch.golden.die: there is no die {said.die}; there are {names}")
    return found


def _subjects(
    loaded: files.Loaded[Campaign], sources: list[files.Loaded[Any]]
) -> tuple[tuple[Site, ...], tuple[Fiducial, ...], tuple[str, ...]]:
    """Return all dies that a campaign or its wafer has, fiducials, and the drawing of the wafer's map file.

    Files that are read go to `sources`.
    """
    campaign = loaded.value

    def read_once(found: files.Loaded[Any]) -> Any:
        if all(s.path != found.path for s in sources):
            sources.append(found)
        return found.value

    found: list[Site] = []
    for k, entry in enumerate(campaign.dies):
        kind = read_once(files.read(entry.file, DieDescription, change=loaded.part("dies", k, "change")))
        whole = Site(entry.name, kind, campaign.seed, entry.place(k))
        found += _named(whole.split(subsites_of(entry.subsites)), loaded, "dies", k, "name")
    fiducials: tuple[Fiducial, ...] = campaign.fiducials  # type: ignore[attr-defined]
    if campaign.wafer is None:
        return tuple(found), fiducials, ()
    of_wafer = campaign.wafer
    wafer_file = files.read(of_wafer.file, WaferFile)
    said: WaferFile = read_once(wafer_file)
    kind = read_once(files.read(of_wafer.die, DieDescription, change=loaded.part("wafer", "change")))
    layout = lay_out(of_wafer, said)
    if layout.source is not None:
        sources.append(layout.source)
    wafer = layout.wafer
    for name in (*(of_wafer.only or ()), *(n for n in wafer.names if n not in (of_wafer.only or ()))):
        made = wafer.die(name, kind, seed=campaign.seed)
        why = layout.excluded.get(name, "")
        whole = Site(name, made, campaign.seed, wafer.place(name), wafer=wafer.name, excluded=why)
        found += _named(whole.split(subsites_of(of_wafer.subsites)), wafer_file, "name")
    drawing = () if layout.source is None else tuple(describe(layout.map, str(layout.source.path)))
    return tuple(found), (*said.fiducials, *fiducials), drawing


def _named(new: Iterable[Site], source: files.Loaded[Any], *path: str | int) -> Iterator[Site]:
    """Yield subjects; refuse one whose whole name, put together of wafer, die and subsite, no file can have."""
    for subject in new:
        try:
            file_name(subject.name)
        except ValueError as error:
            raise source.error(f"a die would be called after it: {error}", *path) from error
        yield subject


def networks(found: solutions.Solutions) -> tuple[Solution, ...]:
    """Return the solutions of a file as the networks that protocols program."""
    return tuple(
        Solution(
            int(index),
            tuple(Layer(cells[k], bias[k]) for cells, bias in zip(found.devices, found.bias, strict=True)),
            found.votes,
        )
        for k, index in enumerate(found.index)
    )


def _weights(trained: TrainedFile) -> dict[str, Any]:
    """Return the fields of a procedure that say what to program."""
    return {"solutions": networks(trained.solutions), "trained_scale": trained.scale}


def _inputs(campaign: Campaign, trained: TrainedFile) -> dict[str, Any]:
    """Return what a campaign hands to procedures, by the name of the field."""
    found = trained.solutions
    data = trained.preprocess.apply(datasets.load(campaign.data))
    wide = found.devices[0].shape[1]
    if data.x_train.shape[1] != wide:
        raise BenchError(
            f"{campaign.solutions}: the first layer has {wide} inputs; the data set '{data.name}' has "
            f"{data.x_train.shape[1]} features"
        )
    return {
        **_weights(trained),
        "x_train": data.x_train,
        "y_train": data.y_train,
        "x_test": data.x_test,
        "y_test": data.y_test,
    }
