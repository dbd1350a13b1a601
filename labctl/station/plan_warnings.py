"""What a plan is warned of: legal, refused by nothing, and not what anybody wants.

Each rule is a function that yields its warnings and says on what its threshold stands. `plan` and `run` print them all,
before anything is energised; none changes what is done.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from instruments.bench import Bench
from instruments.board_bench import BoardBench
from instruments.open_bench import planned_die
from instruments.told_apart import exchangeable, text_of
from labctl.config.bins import NO_LIMITS
from labctl.core.bias import Bias, Kind
from labctl.core.board import Stepped
from labctl.core.model import Model
from labctl.core.units import Second, Volt
from labctl.execution.plan import DiePlan
from labctl.station.map_warnings import (
    another_wafer,
    fiducials_against_the_map,
    letters_in_a_map,
    one_place,
    rows_of_a_map,
)
from labctl.station.plan_warning import PlanWarning, where_of
from labctl.station.run_spec import RunSpec
from labctl.terminal.progress import counted, duration, quantity
from protocols.settings import ReadSettings
from sim_backend.description import DieDescription

SMALLEST, LARGEST = 10e-9, 1e-6
"""Diameters in m of what is built as a magnetic tunnel junction: below, thermal stability is lost and no process is in
use; above, the free layer breaks up into domains. A number beyond them mostly has the prefix of another one."""
NEAR = 0.5
"""Share of the median switching voltage from which a read is near a write: half-selected cells see so much, once a
pulse, and the cells of a survey are read far more often."""
FAR = 100
"""Times the current of a whole line in P, from which a current limit protects nothing."""
STEP = 5e-3
"""Share of a read voltage by which a board may miss it: more is not lost in the noise of 12 bits."""


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
    for name, description in _descriptions(spec):
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


def reads_that_count(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of reads at a voltage from which the campaign itself counts a pulse."""
    limit = spec.limits.v_count
    for path, read in _reads(spec):
        if read.v_read > limit:
            yield PlanWarning(
                f"cells are read at {quantity(read.v_read, 'V')}, and a cell that sees more than limits.v_count, "
                f"{quantity(limit, 'V')}, has got a pulse",
                ".".join(map(str, (*path, "v_read"))),
                where_of(spec, spec.loaded[0].value, *path, "v_read"),
            )


def reads_that_write(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of reads near the voltage that switches the median cell within the time of the read, once for each stage.

    The switching is that of the die file's simulation: of a real die it is what its file takes for true.
    """
    dies = list(_descriptions(spec))
    for path, read in _reads(spec):
        worst = max((_Exposure.of(name, die, read) for name, die in dies), key=lambda e: e.share, default=None)
        if worst is None or worst.share <= NEAR:
            continue
        what = "writes the cells: above" if worst.share > 1 else f"is more than {NEAR:.0%} of"
        across = "" if worst.voltage == read.v_read else f", {quantity(worst.voltage, 'V')} across the junction,"
        yield PlanWarning(
            f"a read at {quantity(read.v_read, 'V')}{across} for {quantity(worst.time, 's')} {what} "
            f"{quantity(worst.median, 'V')}, which switches half of the cells of die {worst.die} in that time",
            ".".join(map(str, (*path, "v_read"))),
            where_of(spec, spec.loaded[0].value, *path, "v_read"),
        )


@dataclass(frozen=True)
class _Exposure:
    """A read of a die: the voltage across a junction in AP, its time, and the median that switches it in that time."""

    die: str
    voltage: Volt
    time: Second
    median: Volt

    @property
    def share(self) -> float:
        return self.voltage / self.median if self.median > 0 else np.inf

    @classmethod
    def of(cls, name: str, die: DieDescription, read: ReadSettings) -> "_Exposure":
        switching, time = die.simulation.switching, die.simulation.timing.settle + read.aperture
        # in AP the junction has the larger share of the voltage across itself and what is in series with it
        share = max(1 - die.series * die.nominal.g_ap(kernel) for kernel in range(die.geometry.kernels))
        *v_c0, deltas = die.simulation.nominal_switching(die.diameters)
        delta, field = float(deltas.min()), abs(switching.reduced_field)
        median = min(v_c0) * switching.law.median(time, delta, field)
        return cls(name, read.v_read * share, time, max(median, 0.0))


def gates_that_do_not_open(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of a gate voltage at which a transistor whose source is at the columns' potential conducts nothing.

    The threshold is that of the die file's simulation: of a real die it is what its file takes for true.
    """
    for path, read in _reads(spec):
        for name, die in _descriptions(spec):
            transistor, board = die.simulation.transistor, die.simulation.board
            if transistor is None or board is None:
                continue
            if np.isfinite(transistor.on_resistance(read.v_gate, board.reference)):
                continue
            yield PlanWarning(
                f"a gate at {quantity(read.v_gate, 'V')} opens no transistor of die {name}: its columns are at "
                f"{quantity(board.reference, 'V')} and its threshold is {quantity(transistor.v_threshold, 'V')} above "
                "that, both from the chip's ground; expected more than their sum",
                ".".join(map(str, (*path, "v_gate"))),
                where_of(spec, spec.loaded[0].value, *path, "v_gate"),
            )
            break


def steps_of_a_board(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of a read voltage that a board applies in another size, in the steps of its converters."""
    if not isinstance(spec.bench, BoardBench):
        return
    die = spec.subjects[0].description
    board, shape = spec.bench.body.planned(die.nominal, die.polarity), die.shape
    if not isinstance(board, Stepped):
        return
    for path, read in _reads(spec):
        row, col = np.zeros((1, shape.n_rows)), np.zeros((1, shape.n_cols))
        row[0, 0] = read.v_read
        applied = float(board.applied(Bias(row, col, None if shape.kind is Kind.PASSIVE else 0 * row)).row[0, 0])
        if abs(applied / read.v_read - 1) > STEP:
            yield PlanWarning(
                f"cells are read at {quantity(applied, 'V')}, which the converters of the board make of "
                f"{quantity(read.v_read, 'V')}; conductances are taken to be at {quantity(read.v_read, 'V')}",
                ".".join(map(str, (*path, "v_read"))),
                where_of(spec, spec.loaded[0].value, *path, "v_read"),
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


def gates_of_no_transistor(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of a gate voltage that is written for dies of which none has a gate."""
    if any(site.description.shape.kind is not Kind.PASSIVE for site in spec.subjects):
        return
    root = spec.loaded[0].root if spec.loaded else None
    for path, _ in _reads(spec):
        node = root
        for step in (*path, "v_gate"):
            node = node.child(step) if node is not None else None
        if node is not None:
            yield PlanWarning(
                "a gate voltage, and no die of this campaign has transistors; expected none",
                ".".join(map(str, (*path, "v_gate"))),
                node.where,
            )


def compliance_of_no_use(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of a current limit far beyond what all cells of a line take together: a lost prefix, mostly."""
    limits = spec.limits
    for name, die in _descriptions(spec):
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


def _descriptions(spec: RunSpec) -> Iterator[tuple[str, DieDescription]]:
    """Yield one die, by its name, of each kind of junction and switching among the dies of a campaign."""
    seen: list[tuple[Any, ...]] = []
    for site in spec.subjects:
        description = site.description
        if not isinstance(description, DieDescription):
            continue
        simulation = description.simulation
        die = (description.geometry, description.junction, simulation.transistor, simulation.board)
        kind = (*die, simulation.switching, simulation.timing)
        if kind not in seen:
            seen.append(kind)
            yield site.name, description


def _reads(spec: RunSpec) -> Iterator[tuple[tuple[str | int, ...], ReadSettings]]:
    """Yield every set of read settings of the stages, with its path in the campaign file."""
    for number, procedure in enumerate(spec.stages):
        yield from _settings(procedure, ("stages", number, procedure.name))


def _settings(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], ReadSettings]]:
    if isinstance(value, ReadSettings):
        yield path, value
    if isinstance(value, Model):
        for name in type(value).model_fields:
            yield from _settings(getattr(value, name), (*path, name))
