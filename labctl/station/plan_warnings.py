"""What a plan is warned of: legal, refused by nothing, and not what anybody wants.

Each rule is a function that yields its warnings and says on what its threshold stands. `plan` and `run` print them all,
before anything is energised; none changes what is done.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from instruments.bench import Bench
from instruments.open_bench import planned_die
from instruments.told_apart import exchangeable, text_of
from labctl.config.bins import NO_LIMITS
from labctl.execution.plan import DiePlan
from labctl.station.map_warnings import (
    another_wafer,
    fiducials_against_the_map,
    letters_in_a_map,
    one_place,
    rows_of_a_map,
)
from labctl.station.plan_warning import PlanWarning, where_of
from labctl.station.read_warnings import (
    descriptions,
    gates_of_no_transistor,
    gates_that_do_not_open,
    maps_of_another_reading,
    reads_that_count,
    reads_that_write,
    steps_of_a_board,
)
from labctl.station.run_spec import RunSpec
from labctl.terminal.progress import counted, duration, quantity

SMALLEST, LARGEST = 10e-9, 1e-6
"""Diameters in m of what is built as a magnetic tunnel junction: below, thermal stability is lost and no process is in
use; above, the free layer breaks up into domains. A number beyond them mostly has the prefix of another one."""
FAR = 100
"""Times the current of a whole line in P, from which a current limit protects nothing."""


Rule = Callable[[RunSpec, Sequence[DiePlan]], Iterator[PlanWarning]]


def warnings_of(spec: RunSpec, plans: Sequence[DiePlan]) -> list[PlanWarning]:
    """Return the warnings of a campaign with its plans, those of each rule in a row; the same one once."""
    return list(dict.fromkeys(warning for rule in RULES for warning in rule(spec, plans)))


def no_limits(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of a campaign in which no die can be good or bad."""
    if spec.bins:
        return
    text = f"{NO_LIMITS}: a die that can be measured will be called 'measured', and none 'good'"
    if spec.batch.stop.low_yield is not None:
        text += "; batch.stop.low_yield counts the dies that cannot be measured only"
    yield PlanWarning(text, "accept", where_of(spec, spec.loaded[0].value))


def diameters(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of junctions of a size that nobody builds."""
    for name, description in descriptions(spec):
        each = description.junction.kernel_diameters
        for kernel, diameter in enumerate(each or description.diameters[:1].tolist()):
            if SMALLEST <= diameter <= LARGEST:
                continue
            path = ("kernel_diameters", kernel) if each else ("diameter",)
            r_p = 1 / description.nominal.g_p(kernel)
            yield PlanWarning(
                f"junctions of {quantity(diameter, 'm')} in die {name}, with R_P {quantity(r_p, 'ohm')}; "
                f"expected {quantity(SMALLEST, 'm')} to {quantity(LARGEST, 'm')}",
                ".".join(map(str, ("junction", *path))),
                where_of(spec, description.junction, "junction", *path),
            )


def dies_of_a_pretest(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of a pre-test of all dies, after which nothing is left to be spared."""
    number = spec.batch.pretest
    if number is not None and number >= len(spec.subjects):
        yield PlanWarning(
            f"the pre-test is of {counted(number, 'die')} and the run has {len(spec.subjects)}; expected fewer",
            "batch.pretest",
            where_of(spec, spec.loaded[0].value, "batch", "pretest"),
        )


def limits_of_the_bench(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of limits that the bench does not have: its own hold."""
    if spec.bench is None:
        return
    for key in ("v_towards_p", "v_towards_ap", "width", "compliance"):
        own, asked = getattr(spec.bench.limits, key, None), getattr(spec.limits, key)
        if own is not None and asked > own * (1 + 1e-9):
            unit = {"width": "s", "compliance": "A"}.get(key, "V")
            yield PlanWarning(
                f"{quantity(asked, unit)} here and {quantity(own, unit)} in the bench file, which holds",
                f"limits.{key}",
                where_of(spec, spec.loaded[0].value, "limits", key),
            )


def compliance_of_no_use(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of a current limit far beyond what all cells of a line take together: a lost prefix, mostly."""
    limits = spec.limits
    for name, die in descriptions(spec):
        shape = die.shape
        cells, conductance = max(shape.n_rows, shape.n_cols), max(die.nominal.g_p(k) for k in range(shape.kernels))
        most = cells * conductance * max(limits.v_towards_p, limits.v_towards_ap)
        if limits.compliance > FAR * most:
            yield PlanWarning(
                f"a current limit of {quantity(limits.compliance, 'A')}, and all cells in P of a line of die {name} "
                f"take {quantity(most, 'A')} together at the highest voltage; nothing is limited by that",
                "limits.compliance",
                where_of(spec, spec.loaded[0].value, "limits", "compliance"),
            )


def budget(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of a budget of time that ends before the plan does."""
    allowed = spec.batch.budgets.time
    times = np.cumsum([sum(stage.time for stage in plan.stages) for plan in plans])
    if allowed is None or not len(times) or times[-1] <= allowed:
        return
    number = len(spec.subjects)
    whole = min(int(np.searchsorted(times, allowed, side="right")), number)
    simulated = "; simulated dies take their own time" if spec.bench is None else ""
    yield PlanWarning(
        f"the plan takes {duration(float(times[-1]))} of bench time and the budget is {duration(allowed)}: "
        f"time for about {whole} of {counted(number, 'die')}{simulated}",
        "batch.budgets.time",
        where_of(spec, spec.loaded[0].value, "batch", "budgets", "time"),
    )


def addresses(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of an address that is no name of a VISA resource; an alias of the VISA library may be one all the same."""
    if spec.bench is None:
        return
    from instruments.visa import (
        SUCH_AS,
        misspelt_resource,
    )  # a campaign of simulated dies needs no pyvisa, which takes long

    for name, entry in spec.bench.instruments.items():
        keys = {} if entry.address is None else {"resource": entry.address.resource, "gateway": entry.address.gateway}
        for key, address in keys.items():
            if address is not None and (why := misspelt_resource(address)):
                yield PlanWarning(
                    f"'{address}' is no VISA address ({why}); expected one such as {SUCH_AS}",
                    f"instruments.{name}.{key}",
                    where_of(spec, spec.bench, "instruments", name, key),
                )


def equal_instruments(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of instruments that can be exchanged unseen; a run on the real bench is refused."""
    if not isinstance(spec.bench, Bench):
        return
    die = planned_die(spec.bench, spec.subjects[0].description.nominal)
    for one, other in exchangeable(spec.bench, die):
        yield PlanWarning(
            f"{text_of(one, other)}; on the real bench that is refused",
            f"instruments.{other}",
            where_of(spec, spec.bench, "instruments", other),
        )


def pulses_that_never_count(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of a campaign in which no pulse can count, so that `pulses_per_cell` limits nothing."""
    limits = spec.limits
    if limits.v_count >= (highest := max(limits.v_towards_p, limits.v_towards_ap)):
        yield PlanWarning(
            f"pulses count above {quantity(limits.v_count, 'V')} and none may be above {quantity(highest, 'V')}, so "
            "limits.pulses_per_cell limits nothing; expected a voltage below those of the pulses",
            "limits.v_count",
            where_of(spec, spec.loaded[0].value, "limits", "v_count"),
        )


def declared_by_others(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of figures and pictures of a protocol of another distribution that no die will have."""
    for number, text in dict.fromkeys(doubt for plan in plans for doubt in plan.doubts):
        path = ("stages", number, spec.stages[number].name)
        yield PlanWarning(text, ".".join(map(str, path)), where_of(spec, spec.loaded[0].value, *path))


RULES: tuple[Rule, ...] = (
    pulses_that_never_count,
    one_place,
    no_limits,
    diameters,
    reads_that_write,
    reads_that_count,
    gates_that_do_not_open,
    maps_of_another_reading,
    steps_of_a_board,
    another_wafer,
    letters_in_a_map,
    rows_of_a_map,
    fiducials_against_the_map,
    gates_of_no_transistor,
    compliance_of_no_use,
    dies_of_a_pretest,
    limits_of_the_bench,
    budget,
    addresses,
    equal_instruments,
    declared_by_others,
)
"""All rules, in the order in which they are printed."""
