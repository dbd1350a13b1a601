"""Compile a campaign: read it with every file that it names into a `RunSpec`."""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl import files
from labctl.config.campaign import Campaign, subsites_of
from labctl.config.wafer_file import Layout, WaferFile, lay_out
from labctl.core.errors import BenchError
from labctl.core.fiducial import Fiducial
from labctl.core.names import alike, file_name
from labctl.core.plugins import PROTOCOLS, strangers_errors
from labctl.core.procedure import Procedure
from labctl.core.site import Site
from labctl.files import Loaded
from labctl.station.declared_figures import check_rules, described
from labctl.station.reference_visit import stages_of
from labctl.station.registry import campaign_model
from labctl.station.run_spec import RunKind, RunSpec
from labctl.station.stages import overrides_of_stages, read_stages
from labctl.storage.stress_ledger import ledger_path
from sim_backend.description import DieDescription

if TYPE_CHECKING:
    from instruments.board_bench import AnyBench

GOLDEN_DIE = ("batch", "golden", "die")
"""Place of the name of the reference die in a campaign."""


def read(
    path: Path,
    overrides: Mapping[str, str] | None = None,
    seed: int | None = None,
    bench: Path | None = None,
    sim: str | None = None,
    door: files.Door | None = None,
) -> RunSpec:
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


def _read(path: Path, overrides: Mapping[str, str], bench: Path | None, sim: str | None, door: files.Door) -> RunSpec:
    loaded = load(path, overrides)
    campaign = loaded.value
    read_files: list[Loaded[Any]] = [loaded]
    sites, fiducials, layout = _sites(loaded, read_files, real=bench is not None and sim is None)
    chosen = None if campaign.wafer is None else campaign.wafer.only
    if repeated := alike(s.name for s in sites):
        text = f"of dies and subsites {repeated}; expected a name of its own for each"
        raise loaded.error(text, "dies" if campaign.wafer is None else "wafer")
    if bench is None or sim is not None:
        _require_temperature(loaded, sites)
    golden = _golden(loaded, sites)
    tested = [s for s in sites if not s.excluded and (chosen is None or s.die in chosen)]
    if not tested:
        text = f"every die is left out, expected at least one; {sites[0].name}: {sites[0].excluded}"
        raise loaded.error(text, "dies" if campaign.wafer is None else "wafer")
    subjects = tuple(s for s in tested if s is not golden)
    if not subjects:
        raise loaded.error("there is no die but the golden one, which is only visited; expected another", *GOLDEN_DIE)
    loaded_bench = None if bench is None else _bench(bench, fiducials, sim)
    if loaded_bench is not None:
        read_files.append(loaded_bench)
        _station_fits(loaded, loaded_bench.value)
    stages, inputs = read_stages(loaded, door)
    visit = () if campaign.batch.golden is None else stages_of(campaign.batch.golden, stages)
    check_rules(loaded, stages, subjects, visit, golden)
    for stage in stages:
        with strangers_errors(PROTOCOLS, stage.name):
            json.dumps(stage.settings_data())  # refused here if it is nothing that a run can record
            for subject in subjects:  # or if an input has nothing for a die
                if not isinstance(own := stage.for_die(subject.name), Procedure):
                    raise TypeError(f"for_die gives {own!r:.80}, expected a Procedure")
    chosen_names = {subject.name for subject in subjects}
    others = tuple(s for s in sites if s.name not in chosen_names)
    roles = {"campaign": files.absolute(path, files.here())}
    ledger = None
    if bench is not None and loaded_bench is not None:
        roles["bench"] = files.absolute(bench, files.here())
        ledger = ledger_path(bench, loaded_bench.value.ledger, os.environ) if sim is None else None
    return RunSpec(
        RunKind.CAMPAIGN,
        campaign.name,
        campaign.seed,
        campaign.limits,
        subjects,
        stages,
        roles,
        dict(door.kept),
        campaign.title,
        campaign.temperature,
        inputs,
        dict(door.digests),
        overrides,
        campaign.bin_rules,
        campaign.batch,
        campaign.notify,
        None if loaded_bench is None else loaded_bench.value,
        sim,
        ledger,
        slot=None if campaign.wafer is None else campaign.wafer.slot,
        skipped=tuple(s for s in others if s.excluded and s is not golden and (chosen is None or s.die in chosen)),
        others=others,
        fiducials=fiducials,
        layout=layout,
        golden=golden,
        visit=visit,
        declared=described(stages, visit),
        operator=campaign.operator,
        loaded=tuple(read_files),
    )


def _bench(path: Path, fiducials: Sequence[Fiducial], sim: str | None) -> "Loaded[AnyBench]":
    """Return a bench file that goes with the fiducials of a wafer, and with the twin that is asked for."""
    # imported here: each worker reads the campaign again, and without a bench would wait for what describes one
    from instruments.bench_file import read_bench
    from instruments.fiducial import fits
    from labctl.station.stand_ins import require_sockets

    loaded = read_bench(path)
    try:
        fits(loaded.value, fiducials)
    except BenchError as error:
        raise loaded.error(str(error), *(("wiring",) if "pad" in str(error) else ())) from error
    if sim == "tcp":
        require_sockets(loaded.value)
    return loaded


def _station_fits(loaded: Loaded[Campaign], bench: "AnyBench") -> None:
    """Raise BenchError if the campaign says a temperature that no chuck of the bench is set to, or a slot that no
    prober and no person at one can take a wafer from."""
    # imported here: without a bench nobody waits for what describes one
    from instruments.before_a_die import out_of_bounds
    from instruments.drivers import has_prober

    campaign = loaded.value
    if campaign.wafer is not None and campaign.wafer.slot is not None and not has_prober(bench):
        raise loaded.error("found a slot, and the bench has no prober; expected none", "wafer", "slot")
    if campaign.temperature is not None:
        for name, entry in bench.instruments.items():
            if text := out_of_bounds(name, campaign.temperature, entry.options):
                raise loaded.error(text, "temperature")


def _require_temperature(loaded: Loaded[Campaign], sites: Sequence[Site]) -> None:
    """Raise BenchError if the campaign says another temperature than a simulated die has."""
    temperature = loaded.value.temperature
    for site in sites:
        if temperature is None or not isinstance(site.description, DieDescription):
            continue
        has = site.description.simulation.thermal.temperature
        if not math.isclose(has, temperature, rel_tol=1e-9):
            text = f"found {temperature:g} K, and die {site.name} is simulated at {has:g} K"
            raise loaded.error(f"{text}; expected the same, or none here", "temperature")


def _golden(loaded: Loaded[Campaign], sites: Sequence[Site]) -> Site | None:
    """Return the reference die, None if the campaign has none; BenchError if there is no die of its name."""
    golden = loaded.value.batch.golden
    site = None if golden is None else next((s for s in sites if s.name == golden.die), None)
    if golden is not None and site is None:
        names = ", ".join(s.name for s in sites)
        raise loaded.error(f"found '{golden.die}', and there is no such die; expected one of {names}", *GOLDEN_DIE)
    return site


def _sites(
    loaded: Loaded[Campaign], read_files: list[Loaded[Any]], real: bool
) -> tuple[tuple[Site, ...], tuple[Fiducial, ...], Layout | None]:
    """Return all dies of a campaign or its wafer, the fiducials, and the places of the wafer, None without one.

    YAML files that are read are appended to `read_files`.

    Args:
        real: whether needles go there: a map file of another wafer or lot is then refused.
    """
    campaign = loaded.value
    sites: list[Site] = []
    for k, entry in enumerate(campaign.dies):
        die_file = files.read(
            entry.file,
            DieDescription,
            change=loaded.part("dies", k, "change"),
            named_by=loaded.place("dies", k, "file"),
        )
        read_files.append(die_file)
        whole = Site(entry.name, die_file.value, campaign.seed, entry.place(k))
        sites += _named(whole.split(subsites_of(entry.subsites)), loaded, "dies", k, "name")
    fiducials: tuple[Fiducial, ...] = campaign.fiducials  # type: ignore[attr-defined]
    if campaign.wafer is None:
        return tuple(sites), fiducials, None
    of_wafer = campaign.wafer
    wafer_file = files.read(of_wafer.file, WaferFile, named_by=loaded.place("wafer", "file"))
    die_file = files.read(
        of_wafer.die, DieDescription, change=loaded.part("wafer", "change"), named_by=loaded.place("wafer", "die")
    )
    read_files += [wafer_file, die_file]
    try:
        layout = lay_out(of_wafer, wafer_file)
    except BenchError as error:
        paths = (wafer_file.path, wafer_file.value.map_file)
        if any(each is not None and str(each) in str(error) for each in paths):
            raise
        raise loaded.error(f"{error}; expected dies and bins that the map has", "wafer") from error
    if real and layout.conflicts:
        raise BenchError("\n".join(str(wafer_file.error(text, "map_file")) for _, text in layout.conflicts))
    wafer = layout.wafer
    for name in (*(of_wafer.only or ()), *(n for n in wafer.names if n not in (of_wafer.only or ()))):
        try:
            die = wafer.die(name, die_file.value, seed=campaign.seed)
        except BenchError as error:
            at = ("only",) if name in (of_wafer.only or ()) else ()
            raise loaded.error(str(error), "wafer", *at) from error
        excluded = layout.excluded.get(name, "")
        whole = Site(name, die, campaign.seed, wafer.place(name), wafer=wafer.name, excluded=excluded)
        sites += _named(whole.split(subsites_of(of_wafer.subsites)), wafer_file, "name")
    return tuple(sites), (*wafer_file.value.fiducials, *fiducials), layout


def _named(sites: Iterable[Site], source: Loaded[Any], *path: str | int) -> Iterator[Site]:
    """Yield sites; refuse one whose full name, of wafer, die and subsite, cannot be the name of a file."""
    for site in sites:
        try:
            file_name(site.name)
        except ValueError as error:
            raise source.error(f"a die would be called after it: {error}", *path) from error
        yield site
