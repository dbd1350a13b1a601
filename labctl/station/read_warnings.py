"""What a plan is warned of its reads and gates: legal, refused by nothing, and not what anybody wants."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from instruments.board_bench import BoardBench
from labctl.core.bias import Bias, Kind
from labctl.core.board import Stepped
from labctl.core.model import Model
from labctl.core.units import Second, Volt
from labctl.execution.plan import DiePlan
from labctl.station.plan_warning import PlanWarning, where_of
from labctl.station.run_spec import RunSpec
from labctl.terminal.progress import quantity
from protocols.chip_inference import ChipInference
from protocols.readout import Normalisation
from protocols.settings import InferenceReadSettings, ReadSettings
from protocols.stage_inputs import Remapping
from protocols.survey import Survey
from sim_backend.description import DieDescription

NEAR = 0.5
"""Share of the median switching voltage from which a read is near a write: half-selected cells see so much, once a
pulse, and the cells of a survey are read far more often."""
STEP = 5e-3
"""Share of a read voltage by which a board may miss it: more is not lost in the noise of 12 bits."""


def reads_that_count(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of reads at a voltage from which the campaign itself counts a pulse."""
    limit = spec.limits.v_count
    for path, read in reads(spec):
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
    dies = list(descriptions(spec))
    for path, read in reads(spec):
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
    for path, gate in _gates(spec):
        for name, die in descriptions(spec):
            transistor, board = die.simulation.transistor, die.simulation.board
            if transistor is None or board is None:
                continue
            if np.isfinite(transistor.on_resistance(gate, board.reference)):
                continue
            yield PlanWarning(
                f"a gate at {quantity(gate, 'V')} opens no transistor of die {name}: its columns are at "
                f"{quantity(board.reference, 'V')} and its threshold is {quantity(transistor.v_threshold, 'V')} above "
                "that, both from the chip's ground; expected more than their sum",
                ".".join(map(str, path)),
                where_of(spec, spec.loaded[0].value, *path),
            )
            break


def maps_of_another_reading(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of an inference that reads otherwise than any survey before it mapped the cells.

    What it takes for G_P and G_AP is then of the survey's own reads, and not of what it will read.
    """
    mapped: list[tuple[Volt, tuple[tuple[Volt, float], ...]]] = []
    for number, procedure in enumerate(spec.stages):
        if isinstance(procedure, Survey):
            mapped += [(r.v_read, r.gates) for r in (procedure, procedure.inference) if r is not None]
        if not isinstance(procedure, ChipInference) or not mapped:
            continue
        read = procedure.readout
        used = read.normalisation is Normalisation.SURVEYED or procedure.subtract or procedure.remap is Remapping.SURVEY
        if not used or (read.v_read, read.gates) in mapped:
            continue
        path = ("stages", number, procedure.name, "readout")
        surveyed = " and at ".join(dict.fromkeys(_in_words(*one) for one in mapped))
        yield PlanWarning(
            f"inference reads at {_in_words(read.v_read, read.gates)}, and the survey at "
            f"{surveyed}: what it found is then not what a weight is worth; "
            "expected the same under 'inference' of the survey",
            ".".join(map(str, path)),
            where_of(spec, spec.loaded[0].value, *path),
        )


def _in_words(v_read: Volt, gates: tuple[tuple[Volt, float], ...]) -> str:
    first, *others = (quantity(v_gate, "V") for v_gate, _ in gates)
    less = "".join(f" less {-w:.3g} of it at {g}" for g, (_, w) in zip(others, gates[1:], strict=True))
    return f"{quantity(v_read, 'V')} with gates at {first}{less}"


def steps_of_a_board(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of a read voltage that a board applies in another size, in the steps of its converters."""
    if not isinstance(spec.bench, BoardBench):
        return
    die = spec.subjects[0].description
    board, shape = spec.bench.body.planned(die.nominal, die.polarity), die.shape
    if not isinstance(board, Stepped):
        return
    for path, read in reads(spec):
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


def gates_of_no_transistor(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of a gate voltage that is written for dies of which none has a gate."""
    if any(site.description.shape.kind is not Kind.PASSIVE for site in spec.subjects):
        return
    root = spec.loaded[0].root if spec.loaded else None
    for path, _ in _gates(spec):
        node = root
        for step in path:
            node = node.child(step) if node is not None else None
        if node is not None:
            yield PlanWarning(
                "a gate voltage, and no die of this campaign has transistors; expected none",
                ".".join(map(str, path)),
                node.where,
            )


def descriptions(spec: RunSpec) -> Iterator[tuple[str, DieDescription]]:
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


def reads(spec: RunSpec) -> Iterator[tuple[tuple[str | int, ...], ReadSettings]]:
    """Yield every set of read settings of the stages, with its path in the campaign file."""
    for number, procedure in enumerate(spec.stages):
        yield from _settings(procedure, ("stages", number, procedure.name))


def _gates(spec: RunSpec) -> Iterator[tuple[tuple[str | int, ...], Volt]]:
    """Yield every gate voltage of the stages' reads, with its path in the campaign file."""
    for path, read in reads(spec):
        yield (*path, "v_gate"), read.v_gate
        if isinstance(read, InferenceReadSettings) and read.second_gate is not None:
            yield (*path, "second_gate", "v_gate"), read.second_gate.v_gate


def _settings(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], ReadSettings]]:
    if isinstance(value, ReadSettings):
        yield path, value
    if isinstance(value, Model):
        for name in type(value).model_fields:
            yield from _settings(getattr(value, name), (*path, name))
