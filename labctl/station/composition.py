"""Read a campaign with every file it names, and make the jobs of its dies."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from instruments.bench import Bench
from instruments.drivers import has_prober
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
from labctl.execution.die_job import Job
from labctl.files import Loaded
from labctl.station.bench_setup import Station
from labctl.station.declared_figures import check_rules
from labctl.station.reference_visit import stages_of
from labctl.station.registry import campaign_model
from labctl.station.simulated import simulated
from labctl.station.stages import overrides_of_stages, read_stages
from labctl.station.stand_ins import twin_text
from labctl.storage.stress_ledger import ledger_path
from labctl.wafer_maps.drawing import describe
from sim_backend.description import DieDescription


@dataclass(frozen=True)
class Prepared:
    """A campaign with every file read and validated.

    Args:
        subjects: the dies that are tested, with their places on the map.
        procedures: the stages.
        campaign_file: path of the campaign file.
        files: bytes of every file that was read, by its path.
        shipped: digest of every content read that comes with a distribution, by its name.
        others: dies of the wafer that are not tested: excluded, or not chosen.
        fiducials: places at which the prober verifies the map before the first die.
        map_drawing: the wafer map as it was read, in lines of text; empty without a map file.
        golden: the reference die, one of `others`; `visit`: the stages of a visit.
        loaded: the YAML files as they were read, for messages that name a line.
    """

    campaign: Campaign
    subjects: tuple[Site, ...]
    procedures: tuple[Procedure, ...]
    campaign_file: Path
    files: Mapping[Path, bytes]
    shipped: Mapping[str, str]
    overrides: Mapping[str, str] = field(default_factory=dict)
    bench: Bench | None = None
    sim: str | None = None
    bench_file: Path | None = None
    others: tuple[Site, ...] = ()
    fiducials: tuple[Fiducial, ...] = ()
    map_drawing: tuple[str, ...] = ()
    golden: Site | None = None
    visit: tuple[Procedure, ...] = ()
    loaded: tuple[Loaded[Any], ...] = field(default=(), repr=False, compare=False)

    @property
    def skipped(self) -> tuple[Site, ...]:
        """Dies of the campaign that are excluded; `excluded` says why."""
        chosen = None if self.campaign.wafer is None else self.campaign.wafer.only
        return tuple(
            s for s in self.others if s.excluded and s is not self.golden and (chosen is None or s.die in chosen)
        )

    @property
    def ledger(self) -> Path | None:
        """The lab's stress ledger; None for simulated dies."""
        if self.bench is None or self.bench_file is None or self.sim is not None:
            return None
        return ledger_path(self.bench_file, self.bench.ledger, os.environ)

    @property
    def body(self) -> str:
        """What the dies are: simulated, on a bench, or on its twin."""
        if self.bench is None:
            return "simulated"
        return f"bench '{self.bench.name}'" + (f", {twin_text(self.bench, self.sim)}" if self.sim else "")

    def predictor(self, subject: Site) -> Die:
        """Return the die whose `check` predicts the time and bytes of `subject`; nothing is connected."""
        if self.bench is None:
            return simulated(subject)
        if len(self.subjects) > 1 and not has_prober(self.bench):
            raise BenchError(
                f"{len(self.subjects)} dies, and the bench '{self.bench.name}' has no prober to go from one to the "
                "next; without one it measures a single die, which --only names"
            )
        self.bench.wiring.fits(subject.description.shape)
        return planned_die(self.bench, subject.description.nominal, subject.description.polarity)

    @property
    def station(self) -> Station | None:
        """The bench with the dies that are tested on it, None for simulated dies."""
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
                ledger=self.ledger,
            )
            for subject in self.subjects
        ]

    def visit_job(self, folder: Path, meta: Mapping[str, Any]) -> Job | None:
        """Return the job of a visit of the reference die, None if there is none."""
        if self.golden is None:
            return None
        return Job(folder, self.golden, self.campaign.limits, meta=dict(meta), ledger=self.ledger, stages=self.visit)

    def procedures_for(self, subject: Site) -> tuple[Procedure, ...]:
        """Return the stages of one die, with the inputs that are for it alone if there are some."""
        return tuple(procedure.for_die(subject.name) for procedure in self.procedures)


def read(
    path: Path,
    overrides: Mapping[str, str] | None = None,
    seed: int | None = None,
    bench: Path | None = None,
    sim: str | None = None,
    door: files.Door | None = None,
) -> Prepared:
    """Read a campaign file, the bench file if any, and all files that they name.

    Args:
        overrides: values by dotted path; the name of an input alone stands for that input of every stage that has it.
        door: what files are read through; the disk if left out.

    Raises:
        BenchError: with all that is wrong.
    """
    overrides = dict(overrides or {})
    if seed is not None:
        overrides["seed"] = str(seed)
    with files.through(door or files.Door()) as opened:
        return _read(path, overrides, bench, sim, opened)


def load(path: Path, overrides: Mapping[str, str] | None = None) -> Loaded[Campaign]:
    """Return a campaign as its file says, with `overrides` as `read` takes them; the files it names are not read."""
    return files.read(path, campaign_model(), overrides_of_stages(path, overrides or {}))


def _read(path: Path, overrides: Mapping[str, str], bench: Path | None, sim: str | None, door: files.Door) -> Prepared:
    loaded = load(path, overrides)
    campaign = loaded.value
    read_files: list[Loaded[Any]] = [loaded]
    sites, fiducials, drawing = _sites(loaded, read_files)
    chosen = None if campaign.wafer is None else campaign.wafer.only
    names = [s.name.lower() for s in sites]
    if repeated := sorted({n for n in names if names.count(n) > 1}):
        raise BenchError(f"{path}: two dies or subsites are called {repeated[0]}; expected a name of its own for each")
    golden = _golden(path, campaign, sites)
    tested = [s for s in sites if not s.excluded and (chosen is None or s.die in chosen)]
    if not tested:
        raise BenchError(f"{path}: every die is left out; {sites[0].name}: {sites[0].excluded}")
    subjects = tuple(s for s in tested if s is not golden)
    if not subjects:
        raise BenchError(f"{path}: there is no die but the golden one, which is only visited")
    loaded_bench: Loaded[Bench] | None = None
    if bench is not None:
        loaded_bench = files.read(bench, Bench)
        read_files.append(loaded_bench)
        fits(loaded_bench.value, fiducials)
    procedures = read_stages(loaded, door)
    visit = () if campaign.batch.golden is None else stages_of(campaign.batch.golden, procedures)
    check_rules(loaded, procedures, subjects, visit, golden)
    for subject in subjects:
        for stage in procedures:
            stage.for_die(subject.name)  # refused here if an input has nothing for it
    return Prepared(
        campaign,
        subjects,
        procedures,
        files.absolute(path, files.here()),
        dict(door.kept),
        dict(door.digests),
        overrides,
        None if loaded_bench is None else loaded_bench.value,
        sim,
        bench_file=None if bench is None else files.absolute(bench, files.here()),
        others=tuple(s for s in sites if s.name not in {subject.name for subject in subjects}),
        fiducials=fiducials,
        map_drawing=drawing,
        golden=golden,
        visit=visit,
        loaded=tuple(read_files),
    )


def _golden(path: Path, campaign: Campaign, sites: Sequence[Site]) -> Site | None:
    """Return the reference die, None if the campaign has none; BenchError if there is no die of its name."""
    golden = campaign.batch.golden
    site = None if golden is None else next((s for s in sites if s.name == golden.die), None)
    if golden is not None and site is None:
        names = ", ".join(s.name for s in sites)
        raise BenchError(f"{path}: batch.golden.die: there is no die {golden.die}; there are {names}")
    return site


def _sites(
    loaded: Loaded[Campaign], read_files: list[Loaded[Any]]
) -> tuple[tuple[Site, ...], tuple[Fiducial, ...], tuple[str, ...]]:
    """Return all dies of a campaign or its wafer, the fiducials, and the drawing of the wafer's map file.

    YAML files that are read are appended to `read_files`.
    """
    campaign = loaded.value
    sites: list[Site] = []
    for k, entry in enumerate(campaign.dies):
        die_file = files.read(entry.file, DieDescription, change=loaded.part("dies", k, "change"))
        read_files.append(die_file)
        whole = Site(entry.name, die_file.value, campaign.seed, entry.place(k))
        sites += _named(whole.split(subsites_of(entry.subsites)), loaded, "dies", k, "name")
    fiducials: tuple[Fiducial, ...] = campaign.fiducials  # type: ignore[attr-defined]
    if campaign.wafer is None:
        return tuple(sites), fiducials, ()
    of_wafer = campaign.wafer
    wafer_file = files.read(of_wafer.file, WaferFile)
    die_file = files.read(of_wafer.die, DieDescription, change=loaded.part("wafer", "change"))
    read_files += [wafer_file, die_file]
    layout = lay_out(of_wafer, wafer_file.value)
    wafer = layout.wafer
    for name in (*(of_wafer.only or ()), *(n for n in wafer.names if n not in (of_wafer.only or ()))):
        die = wafer.die(name, die_file.value, seed=campaign.seed)
        excluded = layout.excluded.get(name, "")
        whole = Site(name, die, campaign.seed, wafer.place(name), wafer=wafer.name, excluded=excluded)
        sites += _named(whole.split(subsites_of(of_wafer.subsites)), wafer_file, "name")
    drawing = () if layout.source is None else tuple(describe(layout.map, str(layout.source)))
    return tuple(sites), (*wafer_file.value.fiducials, *fiducials), drawing


def _named(sites: Iterable[Site], source: Loaded[Any], *path: str | int) -> Iterator[Site]:
    """Yield sites; refuse one whose full name, of wafer, die and subsite, cannot be the name of a file."""
    for site in sites:
        try:
            file_name(site.name)
        except ValueError as error:
            raise source.error(f"a die would be called after it: {error}", *path) from error
        yield site
