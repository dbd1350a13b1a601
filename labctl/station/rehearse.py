"""Rehearse a run, die by die, before it does anything."""

import math
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

    from labctl.core.die import Die
    from labctl.core.errors import BenchError
    from labctl.core.procedure import Procedure
    from labctl.core.site import Site
    from labctl.core.units import Second
    from labctl.execution.nominal_die import PulsedCells
    from labctl.execution.plan import DiePlan
    from labctl.station.run_spec import RunSpec


def rehearsed(spec: "RunSpec") -> "tuple[RunSpec, list[DiePlan]]":
    """Return a run and the plans of its dies; what the limits or the bench would refuse is refused here."""
    from labctl.execution import plan

    _refuse_glances_at_a_bench(spec)
    plans: list[plan.DiePlan] = []
    alike: dict[Any, plan.DiePlan] = {}
    for s in spec.subjects:
        if s.alike not in alike:
            stages = [stage.for_die(s.name) for stage in spec.stages]
            die = predictor(spec, s)
            places = [partial(_place, spec, number, stage, s.name) for number, stage in enumerate(stages)]
            cells = expected_cells(spec, s)
            alike[s.alike] = plan.rehearse(s.name, die, spec.limits, stages, _proof(spec, die), places, cells)
        plans.append(plan.DiePlan(s.name, alike[s.alike].stages, alike[s.alike].doubts))
    _refuse_what_is_never_begun(spec, plans)
    return spec, [*plans, *visits(spec)]


def _refuse_glances_at_a_bench(spec: "RunSpec") -> None:
    """Raise BenchError if a stage would not write down what instruments have read."""
    from labctl.core.errors import BenchError

    for number, stage in enumerate(spec.stages if spec.bench is not None else ()):
        if stage.glances:
            where = f"{spec.loaded[0].where('stages', number, stage.name)}: " if spec.loaded else ""
            raise BenchError(
                f"{where}stage {stage.name} keeps figures only, and readings of a bench are always written down; "
                "expected 'keep: all', the default"
            )


def _refuse_what_is_never_begun(spec: "RunSpec", plans: "list[DiePlan]") -> None:
    """Raise BenchError if the budget of time has no room for one die, so that none would be begun."""
    from labctl.core.errors import BenchError
    from labctl.terminal.progress import duration

    budget = spec.batch.budgets.time
    needed, name = max(((sum(s.time for s in p.stages), p.die) for p in plans), default=(0.0, ""))
    if budget is None or needed <= budget:
        return
    where = f"{spec.loaded[0].where('batch', 'budgets', 'time')}: " if spec.loaded else ""
    raise BenchError(
        f"{where}batch.budgets.time: {duration(budget)} for the run, and die {name} alone takes {duration(needed)} of "
        "bench time: no die would be begun"
    )


def _place(spec: "RunSpec", number: int, stage: "Procedure", die: str, value: float | None) -> str:
    """Return the place of a stage, for messages: `file:line`, and the die on which it is rehearsed.

    Args:
        value: what is beyond a limit, in SI units: the place is that of the key with this value, if there is one.
    """
    path = () if value is None else _key_of(stage, value)
    where = f"{spec.loaded[0].where('stages', number, stage.name, *path)}: " if spec.loaded else ""
    return f"{where}stage {stage.name} of die {die}" + (f", {'.'.join(path)}" if path else "")


def _key_of(settings: "BaseModel", value: float) -> tuple[str, ...]:
    """Return the path of the one number in `settings` that is `value`, () if none or several are."""
    paths = list(_keys_of(settings, value))
    return paths[0] if len(paths) == 1 else ()


def _keys_of(settings: "BaseModel", value: float) -> "Iterator[tuple[str, ...]]":
    from pydantic import BaseModel

    for name in type(settings).model_fields:
        setting = getattr(settings, name)
        if isinstance(setting, BaseModel):
            yield from ((name, *below) for below in _keys_of(setting, value))
        elif isinstance(setting, float) and math.isclose(setting, value, rel_tol=1e-9):
            yield (name,)


def visits(spec: "RunSpec") -> "list[DiePlan]":
    """Return the plans of the visits of the reference die; dies that are tried again may lead to more visits."""
    from labctl.execution import plan

    if (die := spec.golden) is None or spec.batch.golden is None:
        return []
    predicted = predictor(spec, die)
    cells = expected_cells(spec, die)
    visit = plan.rehearse(die.name, predicted, spec.limits, spec.visit, _proof(spec, predicted), cells=cells)
    number = 1 + math.ceil(len(spec.subjects) / spec.batch.golden.every)
    return [plan.DiePlan(f"{die.name}@{k + 1}", visit.stages) for k in range(number)]


def _proof(spec: "RunSpec", die: "Die") -> "Second":
    """Return the predicted time in which contact is proved at the end of a stage, s; none where nothing touches."""
    from instruments.board_bench import BoardBench
    from instruments.board_contact import contact_time
    from instruments.contact import check_time
    from instruments.probed_die import ProbedDie

    if isinstance(spec.bench, BoardBench):
        return contact_time(spec.bench, die) if spec.bench.prober is not None else 0.0
    return check_time(die) if isinstance(die, ProbedDie) else 0.0


def _of_the_bench(spec: "RunSpec", text: str, *path: str) -> "BenchError":
    """Return an error about a bench file, with its line where the campaign was read from files."""
    from labctl.core.errors import BenchError

    source = next((s for s in spec.loaded if s.value is spec.bench), None)
    return source.error(text, *path) if source is not None else BenchError(text)


def expected_cells(spec: "RunSpec", subject: "Site") -> "PulsedCells | None":
    """Return the cells that are expected on `subject`, behind the leads of the bench's twin; None if nothing is known.

    What a bench has in series with its lines stands in its file for the twin alone; a real one is planned by it too.
    """
    from instruments.bench import Bench
    from labctl.core.bias import Kind
    from labctl.station.twin_wiring import leads_of
    from sim_backend.description import DieDescription
    from sim_backend.expected_cells import ExpectedCells

    description = subject.description
    if not isinstance(description, DieDescription):
        return None
    leads = None
    if isinstance(spec.bench, Bench) and description.geometry.kind is Kind.PASSIVE:
        leads = leads_of(spec.bench, description.simulation.ideal)
    return ExpectedCells(description, leads)


def predictor(spec: "RunSpec", subject: "Site") -> "Die":
    """Return the die whose `check` predicts the time and bytes of `subject`; nothing is connected."""
    from instruments.bench_file import planned_die
    from instruments.drivers import reaches_several
    from labctl.core.errors import BenchError
    from labctl.station.simulated import simulated

    if spec.bench is None:
        return simulated(subject)
    if len(spec.subjects) > 1 and not reaches_several(spec.bench):
        raise _of_the_bench(
            spec,
            f"{len(spec.subjects)} dies, and the bench '{spec.bench.name}' has no prober to go from one to the next"
            "; without one, and without 'exchange: by hand' of a board, it measures a single die, which --only names",
        )
    try:
        spec.bench.fits(subject.description.shape)
    except BenchError as error:
        text = f"die {subject.name}: {error}"
        raise _of_the_bench(spec, text, *(("wiring",) if "wiring" in text else ())) from error
    return planned_die(spec.bench, subject.description.nominal, subject.description.polarity)
