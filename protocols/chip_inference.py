"""The stage of a die of many kernels: program a network tiled over them, tune its scale, infer all samples.

One network scale per layer and die is tuned on the first `tune_on` training samples, in the same way for every
solution, whatever it was trained for. A scale is relative to the one the solution was trained with, so 1
is "untuned" here as elsewhere.

Ten thousand samples on thirty kernels are two gigabytes of currents. The operations journal holds them all, but for a
simulated die of which only figures are to be kept; the table of currents keeps the first `samples_kept` test samples,
for which the ideal currents are given too.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from labctl.core.bias import Geometry, Nominal
from labctl.core.die import Die
from labctl.core.errors import BenchError
from labctl.core.procedure import Procedure
from labctl.core.record import History, Record
from labctl.core.units import FloatArray, IntArray
from protocols.accuracies import accuracy_record
from protocols.calibrate import Calibrated, subtraction
from protocols.cell_knowledge import CellKnowledge
from protocols.cells import CellReader, Cells
from protocols.chip_readout import Activation, ChipReadout, Keep, ProgrammedChip
from protocols.die_information import AccuracyTerms, Way
from protocols.figures import ERROR_RATES, NETWORK_FIGURES, SWITCHING
from protocols.readout import Normalisation, tune
from protocols.records import Attempt, Inference, LayerCurrent, Prediction, ReadBack
from protocols.remap import LayerMap, layer_map, remap
from protocols.stage_inputs import NetworkInputs, Remapping
from protocols.statistics import binomial_interval, confusion_matrix, cross_entropy
from protocols.tiling import Tiling
from protocols.weights import Solution, activate, classify
from protocols.write_errors import error_rates
from protocols.write_verify import WriteVerify, Written, write_record, write_verify


def software(
    solution: Solution, x: FloatArray, scales: FloatArray, activation: Activation = Activation.TANH
) -> IntArray:
    """Return the classes (n,) that the network in software gives to x (n, n_in), at the scales (K,) of its layers."""
    *hidden, last = zip(solution.weights, scales, solution.biases, strict=True)
    for weight, scale, bias in hidden:
        x = activation.drive(activate(x @ weight, scale, bias))
    weight, scale, bias = last
    return classify(x @ weight, scale, bias)


class ChipInference(NetworkInputs, Procedure):
    """Program every solution, tiled over kernels, by write-verify and infer the test samples with it, all or `test_on`.

    Inputs lie within -1 and 1; they are applied as x v_read. In the records the training samples are those
    the scale was tuned on.
    """

    name: ClassVar[str] = "chip_inference"
    figures = (*NETWORK_FIGURES, *SWITCHING, *ERROR_RATES)

    kernels: Annotated[
        tuple[int, ...] | None,
        Field(min_length=1, description="kernels in the order in which they are filled; all if left out"),
    ] = None
    write_verify: Annotated[WriteVerify, Field(description="how cells are written")] = WriteVerify()
    readout: Annotated[ChipReadout, Field(description="how layers are read and tuned")] = ChipReadout()

    @model_validator(mode="after")
    def _neurons_are_those_of_the_training(self) -> Self:
        trained = self.solutions.activation
        if trained and trained != self.readout.activation:
            raise ValueError(
                f"the neurons of {self.solutions.name} are {trained}, and those of the stage "
                f"{self.readout.activation}; expected readout: {{activation: {trained}}}"
            )
        return self

    def rehearsal(self) -> tuple[Procedure, int]:
        """Return the stage with its first solution only, and how many there are."""
        return self.model_copy(update={"solutions": self.solutions.take([0])}), len(self.solutions)

    @property
    def glances(self) -> bool:
        """Whether currents of images are not written down."""
        return self.readout.keep is Keep.FIGURES

    def terms(self, way: Way, labelled: int) -> AccuracyTerms:
        """Return the terms of an accuracy of this stage, and whether it is read at two gates."""
        return replace(super().terms(way, labelled), second_gate=self.readout.second_gate is not None)

    def tiling(self, geometry: Geometry) -> Tiling:
        """Return where the cells lie on a die; BenchError if they do not fit."""
        return Tiling(self.solutions[0].shapes, geometry, self.kernels)

    def run(self, die: Die, history: History) -> Iterator[Record]:
        """Run the solutions one after the other; yield attempts, read-backs and the summaries of each.

        Raises:
            BenchError: the network does not fit the die; it is to be read at a second gate voltage, and the die has no
                gates or no survey has mapped its cells so; or its cells conduct no more in P than in AP then.
        """
        self.readout.refuse_without_gates(die.geometry)
        tiling = self.tiling(die.geometry)
        depth = len(tiling.shapes)
        known = CellKnowledge(die, history, self.write_verify.short_above, self.write_verify.v_read)
        cells = [tiling.cells(k) for k in range(depth)]
        reader = CellReader(die.geometry, Cells.join(cells), self.write_verify)
        surveyed = self.readout.normalisation is Normalisation.SURVEYED

        def states_of(chosen: Cells) -> tuple[float, float]:
            return known.states(chosen.at, self.readout) if surveyed else known.nominal_states(chosen.at)

        for layer_cells in cells:
            known.refuse_unmapped(layer_cells.at, self.readout)
        states = [states_of(c) for c in cells]
        for k, (g_p, g_ap) in enumerate(states):
            if g_p <= g_ap:
                raise BenchError(
                    f"cells of layer {k + 1} conduct {g_p:.3g} S in P and {g_ap:.3g} S in AP, as inference reads them; "
                    "expected more in P"
                )
        gains = {kernel: gain for c in cells for kernel, gain in _gains(die.nominal, c, states_of)}
        layer = np.repeat(np.arange(depth), [len(c) for c in cells])
        attempts: list[Attempt] = []
        maps = self._maps(known, cells, states, gains)
        for number, solution in enumerate(self.solutions):
            trained = self.solutions.trained_scale[number]
            if self.remap is Remapping.SURVEY:
                placed = remap(solution, trained, maps, self.data.x_train)
                yield placed.record()
                solution = placed.solution
            target = np.concatenate([x.devices.ravel() for x in solution.layers])
            for item in write_verify(die, known, reader, target, self.write_verify, solution=solution.index):
                if not isinstance(item, Written):
                    attempts.append(item)
                    yield item
                    continue
                kernel, row, col = reader.cells.at
                yield ReadBack(
                    solution=np.full(len(target), solution.index),
                    layer=layer,
                    kernel=kernel,
                    row=row,
                    col=col,
                    target=item.target,
                    state=item.state,
                    conductance=item.conductance,
                    flag=item.flag,
                )
                yield write_record([item], self.write_verify, solution=solution.index)
            chip = ProgrammedChip(die, tiling, solution, self.readout, states, trained, gains)
            yield from self._infer(solution, chip, trained, maps)
        yield from error_rates(attempts, known, self.write_verify)

    def _maps(
        self,
        known: CellKnowledge,
        cells: list[Cells],
        states: list[tuple[float, float]],
        gains: Mapping[int, float],
    ) -> list[LayerMap]:
        """Return the surveyed cells under each layer; none if nothing asks for them."""
        if self.remap is Remapping.NONE and not self.subtract:
            return []
        gain = np.ones(known.defect.shape[0])
        gain[list(gains)] = list(gains.values())
        return [
            layer_map(known, c, shape, self.readout, g_p - g_ap, gain[c.at[0]])
            for c, shape, (g_p, g_ap) in zip(cells, self.solutions[0].shapes, states, strict=True)
        ]

    def _infer(
        self, solution: Solution, chip: ProgrammedChip, trained: FloatArray, maps: list[LayerMap]
    ) -> Iterator[Record]:
        n = min(self.readout.tune_on, len(self.data.x_train))
        read = min(max(n, self.calibrate), len(self.data.x_train))
        data = self.data
        x = np.concatenate([data.x_train[:read], data.x_test[: self.readout.test_on]])
        y = np.concatenate([data.y_train[:read], data.y_test[: self.readout.test_on]])
        parts = {"train": slice(n), "test": slice(read, None)}
        kept = slice(read, read + self.readout.samples_kept)
        weights, biases = solution.weights, solution.biases
        one, grid, drive = np.ones(len(biases)), self.readout.grid, self.readout.activation.drive
        first = chip.currents(0, x)
        scale = tune(chip.measure, biases, chip.normalise(0, first[:n]), grid, y[:n])
        float_scale = tune(
            lambda k, a: drive(a) @ weights[k] / trained[k], biases, x[:n] @ weights[0] / trained[0], grid, y[:n]
        )
        untuned = chip.forward(x, first, one, kept)
        tuned = untuned if np.array_equal(scale, one) else chip.forward(x, first, scale, kept)
        figures: dict[str, Any] = {}
        predictions: dict[str, IntArray] = {}
        for tuning, outputs, scales in (("untuned", untuned, one), ("tuned", tuned, scale)):
            predicted = classify(outputs.z, scales[-1], biases[-1])
            for name, part in parts.items():
                right = int((predicted[part] == y[part]).sum())
                figures[f"accuracy_{tuning}_{name}"] = right / len(y[part])
                figures[f"interval_{tuning}_{name}"] = binomial_interval(right, len(y[part]))
                figures[f"confusion_{tuning}_{name}"] = confusion_matrix(y[part], predicted[part], len(biases[-1]))
                predictions[f"{tuning}_{name}"] = predicted[part]
        for tuning, scales in (("untuned", one), ("same", scale), ("tuned", float_scale)):
            predicted = software(solution, x, scales * trained, self.readout.activation)
            for name, part in parts.items():
                figures[f"float_{tuning}_{name}"] = float((predicted[part] == y[part]).mean())
        errors = [
            (current - ideal) / unit
            for current, ideal, unit in zip(untuned.current, untuned.ideal, chip.units, strict=True)
        ]
        yield Inference(
            solution=solution.index,
            scale=scale,
            float_scale=float_scale,
            cross_entropy_tuned_train=float(cross_entropy(activate(tuned.z[:n], scale[-1], biases[-1]), y[:n])),
            delta_g=chip.units / self.readout.v_read,
            error_rms=np.array([np.sqrt(np.mean(e**2)) for e in errors]),
            error_worst=np.array([np.abs(e).max() for e in errors]),
            flagged=chip.flagged,
            **figures,
        )
        yield Prediction(solution=solution.index, **predictions)
        passes = {Way.UNTUNED: (untuned, one), Way.TUNED: (tuned, scale)}
        if self.calibrate:
            calibrated = Calibrated(solution, data.x_train[: self.calibrate], trained, drive)
            passes[Way.CALIBRATED] = chip.forward(x, first, one, kept, calibrated), one
            yield calibrated.record()
        if self.subtract:
            adjust = subtraction(solution, maps, trained)
            passes[Way.SUBTRACTED] = chip.forward(x, first, one, kept, adjust), one
        for way, (passed, scales) in passes.items():
            yield accuracy_record(
                solution.index,
                self.terms(way, n),
                classify(passed.z, scales[-1], biases[-1]),
                y,
                parts,
                figures[f"float_{'tuned' if way is Way.TUNED else 'untuned'}_test"],
            )
        yield LayerCurrent(
            solution=solution.index,
            layer=np.repeat(np.arange(len(biases)), [cols for _, cols in solution.shapes]),
            untuned=np.concatenate(untuned.current, axis=1),
            untuned_ideal=np.concatenate(untuned.ideal, axis=1),
            tuned=np.concatenate(tuned.current, axis=1),
            tuned_ideal=np.concatenate(tuned.ideal, axis=1),
            g_p=np.array([g_p for g_p, _ in chip.states]),
            g_ap=np.array([g_ap for _, g_ap in chip.states]),
        )


def _gains(
    nominal: Nominal, cells: Cells, states_of: Callable[[Cells], tuple[float, float]]
) -> Iterator[tuple[int, float]]:
    """Yield for every kernel of a layer the factor by which its cells' G_P - G_AP falls short of the layer's.

    It is 1 where the kernels are nominally alike: what differs between them then is the spread of one size.
    """
    kernels = np.unique(cells.at[0])
    alike = len({(nominal.g_p(k), nominal.g_ap(k)) for k in kernels.tolist()}) == 1
    g_p, g_ap = states_of(cells)
    for kernel in kernels.tolist():
        p, ap = (g_p, g_ap) if alike else states_of(cells.take(cells.at[0] == kernel))
        yield kernel, (g_p - g_ap) / (p - ap)
