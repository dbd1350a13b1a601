"""Rehearse a night: faults that a plausible night has, injected into the simulated instruments and dies of a run."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from labctl.core.driver import Wire
from labctl.core.errors import BenchError
from labctl.core.planned_fault import InjectedFaults
from labctl.execution.plan import DiePlan
from labctl.station.run_spec import RunSpec
from sim_backend.description import DieDescription
from sim_backend.faults.dies import MADE, spoilt
from sim_backend.faults.typical import LIBRARY, draw

if TYPE_CHECKING:
    from instruments.board_bench import AnyBench

TYPICAL = "typical"


def refuse(name: str, real: bool) -> None:
    """Raise BenchError for another kind of night, or on a real bench."""
    if name != TYPICAL:
        raise BenchError(f"--faults {name}: expected {TYPICAL}")
    if real:
        raise BenchError(
            f"--faults {name}: faults are never injected into a real bench; rehearse the night on its twin, with "
            "--sim bytes or --sim tcp beside --bench, or on simulated dies, without --bench"
        )


def drawn(spec: RunSpec, plans: Sequence[DiePlan], name: str = TYPICAL) -> RunSpec:
    """Return a run with the faults of a plausible night, drawn by its seed. Raises BenchError as `refuse` does."""
    refuse(name, spec.real is not None)
    planned = {plan.die: round(sum(max(s.operations, s.time) for s in plan.stages)) for plan in plans}
    dies = {site.name: planned[site.name] for site in spec.subjects}
    return with_faults(spec, InjectedFaults(name, spec.seed, draw(dies, kinds(spec.bench), spec.seed)))


def kinds(bench: "AnyBench | None") -> dict[str, str] | None:
    """Return the kind of each instrument of a twin into which faults can be injected, by name; None without a bench."""
    if bench is None:
        return None
    # imported here: without a bench each worker would wait for it
    from labctl.station.stand_ins import with_stand_ins
    from sim_backend.faults.libraries import EMULATORS

    concerned: dict[str, str] = {}
    for name, entry in with_stand_ins(bench).instruments.items():
        if entry.kind is None or entry.emulator is None:
            continue
        if entry.declaration.wire is Wire.TEXT:
            concerned[name] = entry.kind.value
        elif entry.emulator[0] in EMULATORS:
            concerned[name] = LIBRARY
    return concerned


def with_faults(spec: RunSpec, faults: InjectedFaults) -> RunSpec:
    """Return a run with these faults; the dies that they make bad are so."""
    made = {fault.die: fault.kind for fault in faults.faults if fault.kind in MADE}
    subjects = tuple(
        replace(site, description=spoilt(site.description, made[site.name]))
        if site.name in made and isinstance(site.description, DieDescription)
        else site
        for site in spec.subjects
    )
    return replace(spec, subjects=subjects, faults=faults)


def spared(bench: "AnyBench | None") -> list[str]:
    """Return the names of the instruments of a twin into which no fault can be injected."""
    return [] if bench is None else sorted(set(bench.instruments) - set(kinds(bench) or {}))
