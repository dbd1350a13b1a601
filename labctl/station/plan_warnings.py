"""What a plan is warned of: legal, refused by nothing, and not what anybody wants.

Each rule is a function that yields its warnings and says on what its threshold stands. `plan` and `run` print them all,
before anything is energised; none changes what is done.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
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
from labctl.core.site import Spot
from labctl.core.units import Second, Volt
from labctl.execution.plan import DiePlan
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
STEP = 5e-3
"""Share of a read voltage by which a board may miss it: more is not lost in the noise of 12 bits."""
DIE_MARKS = "X"
"""Marks of a drawn map that stand for a die; a dot and a space stand for none."""


@dataclass(frozen=True)
class PlanWarning:
    """One warning.

    Args:
        text: what was found, and what was expected.
        key: of the value in its file.
        where: `file:line`; empty if the value is in no file.
    """

    text: str
    key: str = ""
    where: str = ""

    def __str__(self) -> str:
        return ": ".join(filter(None, [self.where, self.key, self.text]))

    def plain(self) -> dict[str, str]:
        """Return it for JSON."""
        return asdict(self)


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
    yield PlanWarning(text, "accept", _where(spec, spec.loaded[0].value))


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
                _where(spec, description.junction, "junction", *path),
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
                _where(spec, spec.loaded[0].value, *path, "v_read"),
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
            _where(spec, spec.loaded[0].value, *path, "v_read"),
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
                _where(spec, spec.loaded[0].value, *path, "v_gate"),
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
                _where(spec, spec.loaded[0].value, *path, "v_read"),
            )


def another_wafer(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of a map file that is of another wafer or lot than the wafer file says; a real bench refuses it."""
    if spec.layout is None:
        return
    for _, text in spec.layout.conflicts:
        source = next(s for s in spec.loaded if getattr(s.value, "map_file", None) == spec.layout.source)
        yield PlanWarning(f"{text}. A bench refuses it", "map_file", source.where("map_file"))


def letters_in_a_map(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of marks in a drawn map that are dies only because they are no dot."""
    for source in spec.loaded:
        for number, row in enumerate(getattr(source.value, "map", ()) or ()):
            if re.fullmatch(r"\S( \S){2,}", row):
                yield PlanWarning(
                    f"the blanks in {row!r} are taken for places without a die, so that the dies on both sides lie "
                    f"apart; expected {DIE_MARKS} for a die and a dot for none",
                    f"map.{number}",
                    source.where("map", number),
                )
            if odd := sorted(set(row) - set(DIE_MARKS) - set(". ")):
                marks = " and ".join(repr(mark) for mark in odd)
                yield PlanWarning(
                    f"{marks} in {row!r} {'is' if len(odd) == 1 else 'are'} taken for a die; "
                    f"expected {DIE_MARKS} for a die and a dot for none",
                    f"map.{number}",
                    source.where("map", number),
                )


def rows_of_a_map(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of a drawn map whose rows are not equally long: marks may be missing at either end."""
    for source in spec.loaded:
        rows: tuple[str, ...] = getattr(source.value, "map", ()) or ()
        for number, row in enumerate(rows):
            if len(row) != len(rows[0]):
                yield PlanWarning(
                    f"{row!r} has {counted(len(row), 'place')} and the first row {len(rows[0])}; what is missing is "
                    "taken for places without a die on the right; expected rows of one length",
                    f"map.{number}",
                    source.where("map", number),
                )
                break


def fiducials_against_the_map(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of a fiducial that expects contact where the map has no die, or none where it has one."""
    if spec.layout is None:
        return
    places = {(place.x, place.y) for place in spec.layout.map.places}
    for source in spec.loaded:
        for number, fiducial in enumerate(getattr(source.value, "fiducials", ())):
            if fiducial.expect is not None and fiducial.open == (fiducial.at in places):
                yield PlanWarning(
                    f"'{fiducial.expect}' is expected at {fiducial.name}, where the map has "
                    f"{'a' if fiducial.open else 'no'} die; the map cannot be proved by that",
                    f"fiducials.{number}",
                    source.where("fiducials", number),
                )


def dies_of_a_pretest(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of a pre-test of all dies, after which nothing is left to be spared."""
    number = spec.batch.pretest
    if number is not None and number >= len(spec.subjects):
        yield PlanWarning(
            f"the pre-test is of {counted(number, 'die')} and the run has {len(spec.subjects)}; expected fewer",
            "batch.pretest",
            _where(spec, spec.loaded[0].value, "batch", "pretest"),
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
                _where(spec, spec.loaded[0].value, "limits", key),
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
        _where(spec, spec.loaded[0].value, "batch", "budgets", "time"),
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
        if entry.address is not None and (why := misspelt_resource(entry.address.resource)):
            yield PlanWarning(
                f"'{entry.address.resource}' is no VISA address ({why}); expected one such as {SUCH_AS}",
                f"instruments.{name}.resource",
                _where(spec, spec.bench, "instruments", name, "resource"),
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
            _where(spec, spec.bench, "instruments", other),
        )


def pulses_that_never_count(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of a campaign in which no pulse can count, so that `pulses_per_cell` limits nothing."""
    limits = spec.limits
    if limits.v_count >= (highest := max(limits.v_towards_p, limits.v_towards_ap)):
        yield PlanWarning(
            f"pulses count above {quantity(limits.v_count, 'V')} and none may be above {quantity(highest, 'V')}, so "
            "limits.pulses_per_cell limits nothing; expected a voltage below those of the pulses",
            "limits.v_count",
            _where(spec, spec.loaded[0].value, "limits", "v_count"),
        )


def one_place(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of two dies at one place of the map: a prober goes to the same die for both."""
    first: dict[Spot, str] = {}
    for site in spec.subjects:
        if (other := first.setdefault(site.spot, site.name)) != site.name:
            yield PlanWarning(
                f"{other} and {site.name} are both at x{site.at[0]}y{site.at[1]}, where a prober finds one die; "
                "expected a place for each",
                "dies",
                _where(spec, spec.loaded[0].value, "dies"),
            )


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
    dies_of_a_pretest,
    limits_of_the_bench,
    budget,
    addresses,
    equal_instruments,
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


def _where(spec: RunSpec, value: object, *path: str | int) -> str:
    """Return `file:line` of `path` in the file that `value` was read from; "" if no file holds it as it is."""
    for source in spec.loaded:
        read = source.value
        if read is value or getattr(read, "junction", None) is value:
            return str(source.where(*path))
    return ""
