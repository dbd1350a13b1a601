"""The stage that programs solutions one after another and classifies with each: write-verify, read, tune.

Layers that lie on the same cells are programmed and read one after the other; all others together. The
readings of a layer are kept, so that no layer has to be programmed twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, field_validator

from labctl.core.bias import Geometry
from labctl.core.die import Die
from labctl.core.errors import BenchError
from labctl.core.procedure import Procedure
from labctl.core.record import History, Record
from labctl.core.units import FloatArray, IntArray
from protocols.accuracies import accuracy_record
from protocols.calibrate import Adjust, Calibrated, subtraction
from protocols.cell_knowledge import CellKnowledge
from protocols.cells import CellReader, Cells
from protocols.die_information import Way
from protocols.figures import ERROR_RATES, NETWORK_FIGURES, SWITCHING
from protocols.readout import InferenceSettings, LayerReadout, Mode, Normalisation, tune
from protocols.records import Attempt, Inference, LayerCurrent, Prediction, ReadBack
from protocols.remap import LayerMap, layer_map, remap
from protocols.stage_inputs import NetworkInputs, Networks, Remapping
from protocols.statistics import binomial_interval, confusion_matrix, cross_entropy
from protocols.weights import Placement, Solution, activate, check_fit, classify, float_predictions, phases
from protocols.write_errors import error_rates
from protocols.write_verify import WriteVerify, Written, write_record, write_verify


@dataclass(frozen=True, eq=False)
class _Outputs:
    """A pass of n samples: per layer the currents (n, columns) A and the ideal ones; z of the last layer."""

    current: list[FloatArray]
    ideal: list[FloatArray]
    z: FloatArray


class Network(NetworkInputs, Procedure):
    """Program every solution by write-verify and classify the samples with it, untuned and tuned.

    Inputs lie within -1 and 1; they are applied as x v_read.
    """

    name: ClassVar[str] = "network"
    figures = (*NETWORK_FIGURES, *SWITCHING, *ERROR_RATES)

    placement: Annotated[
        tuple[Placement, ...], Field(min_length=1, description="where each layer lies, first layer first")
    ]
    write_verify: Annotated[WriteVerify, Field(description="how cells are written")] = WriteVerify()
    inference: Annotated[InferenceSettings, Field(description="how layers are read and tuned")] = InferenceSettings()

    @field_validator("solutions")
    @classmethod
    def _can_be_read_here(cls, solutions: Networks) -> Networks:
        if solutions[0].votes != 1:
            raise ValueError(
                f"{solutions.name} has {solutions[0].votes} outputs per class; this stage expects one for each"
            )
        if solutions.activation not in ("", "tanh"):
            raise ValueError(
                f"the neurons of {solutions.name} are {solutions.activation}, and this stage has tanh; expected a "
                "network of tanh, or the stage chip_inference"
            )
        return solutions

    def rehearsal(self) -> tuple[Procedure, int]:
        """Return the stage with its first solution only, and how many there are."""
        return self.model_copy(update={"solutions": self.solutions.take([0])}), len(self.solutions)

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of the block of cells of every layer."""
        return self.solutions[0].shapes

    @property
    def phases(self) -> tuple[tuple[int, ...], ...]:
        """Layers that are programmed together, in the order in which they are."""
        return phases(self.placement, self.shapes)

    @property
    def cells(self) -> tuple[Cells, ...]:
        """Cells of every layer, row by row."""
        return tuple(p.cells(s) for p, s in zip(self.placement, self.shapes, strict=True))

    def check(self, geometry: Geometry) -> None:
        """Raise BenchError unless the layers fit the die and can be read in the mode wanted."""
        check_fit(self.placement, self.shapes, geometry)
        if self.inference.mode is Mode.PARALLEL and len(set(range(1, len(self.shapes))) - set(self.phases[-1])):
            raise BenchError(
                "parallel read-out needs all layers after the first to be programmed at once, "
                "and they overlap; place them apart or read by superposition"
            )

    def run(self, die: Die, history: History) -> Iterator[Record]:
        """Run the solutions one after the other; yield attempts, read-backs and the summaries of each.

        Raises:
            BenchError: see `check`.
        """
        self.check(die.geometry)
        known = CellKnowledge(die, history, self.write_verify.short_above, self.write_verify.v_read)
        layers = [self._layer(known, k, cells) for k, cells in enumerate(self.cells)]
        readers = [
            CellReader(die.geometry, Cells.join([self.cells[k] for k in phase]), self.write_verify)
            for phase in self.phases
        ]
        attempts: list[Attempt] = []
        maps = self._maps(known, layers)
        for number, solution in enumerate(self.solutions):
            trained = self.solutions.trained_scale[number]
            if self.remap is Remapping.SURVEY:
                placed = remap(solution, trained, maps, self.data.x_train)
                yield placed.record()
                solution = placed.solution
            session = _Session(die, layers, solution, np.concatenate([self.data.x_train, self.data.x_test]), trained)
            parts: list[Written] = []
            for phase, reader in zip(self.phases, readers, strict=True):
                target = np.concatenate([solution.layers[k].devices.ravel() for k in phase])
                for item in write_verify(die, known, reader, target, self.write_verify, solution=solution.index):
                    if isinstance(item, Written):
                        parts.append(item)
                        yield self._readback(solution, phase, reader.cells, item)
                    else:
                        attempts.append(item)
                        yield item
                session.programmed(phase)
            yield write_record(parts, self.write_verify, solution=solution.index)
            yield from self._infer(solution, session, maps, trained)
        yield from error_rates(attempts, known, self.write_verify)

    def _layer(self, known: CellKnowledge, k: int, cells: Cells) -> LayerReadout:
        surveyed = self.inference.normalisation is Normalisation.SURVEYED
        g_p, g_ap = known.states(cells.at, self.inference) if surveyed else known.nominal_states(cells.at)
        return LayerReadout(self.placement[k], self.shapes[k], self.inference, g_p, g_ap)

    def _readback(self, solution: Solution, phase: tuple[int, ...], cells: Cells, written: Written) -> ReadBack:
        kernel, row, col = cells.at
        return ReadBack(
            solution=np.full(len(cells), solution.index),
            layer=np.repeat(phase, [solution.layers[k].devices.size for k in phase]),
            kernel=kernel,
            row=row,
            col=col,
            target=written.target,
            state=written.state,
            conductance=written.conductance,
            flag=written.flag,
        )

    def _maps(self, known: CellKnowledge, layers: list[LayerReadout]) -> list[LayerMap]:
        """Return the surveyed cells under each layer; none if nothing asks for them."""
        if self.remap is Remapping.NONE and not self.subtract:
            return []
        return [
            layer_map(known, cells, layer.shape, self.inference, layer.g_p - layer.g_ap, np.ones(len(cells)))
            for cells, layer in zip(self.cells, layers, strict=True)
        ]

    def _infer(
        self, solution: Solution, session: "_Session", maps: list[LayerMap], trained: FloatArray
    ) -> Iterator[Record]:
        data, grid = self.data, self.inference.grid
        n = len(data.x_train)
        biases = [layer.bias for layer in solution.layers]
        weights = [layer.weight for layer in solution.layers]
        one = np.ones(len(biases))
        scale = tune(session.measure, biases, session.z_first(n), grid, data.y_train)
        float_scale = tune(
            lambda k, a: a @ weights[k] / trained[k], biases, data.x_train @ weights[0] / trained[0], grid, data.y_train
        )
        untuned, tuned = session.forward(one), session.forward(scale)
        figures: dict[str, Any] = {}
        predictions: dict[str, IntArray] = {}
        for tuning, outputs, scales in (("untuned", untuned, one), ("tuned", tuned, scale)):
            predicted = classify(outputs.z, scales[-1], biases[-1])
            for name, part, y in (
                ("train", predicted[:n], data.y_train),
                ("test", predicted[n:], data.y_test),
            ):
                right = int((part == y).sum())
                figures[f"accuracy_{tuning}_{name}"] = right / len(y)
                figures[f"interval_{tuning}_{name}"] = binomial_interval(right, len(y))
                figures[f"confusion_{tuning}_{name}"] = confusion_matrix(y, part, len(biases[-1]))
                predictions[f"{tuning}_{name}"] = part
        for tuning, scales in (("untuned", one), ("same", scale), ("tuned", float_scale)):
            for name, x, y in (
                ("train", data.x_train, data.y_train),
                ("test", data.x_test, data.y_test),
            ):
                figures[f"float_{tuning}_{name}"] = float(
                    (float_predictions(solution, x, scales * trained) == y).mean()
                )
        errors = [
            (current - ideal) / layer.unit
            for current, ideal, layer in zip(untuned.current, untuned.ideal, session.layers, strict=True)
        ]
        outputs_train = activate(tuned.z[:n], scale[-1], biases[-1])
        yield Inference(
            solution=solution.index,
            scale=scale,
            float_scale=float_scale,
            cross_entropy_tuned_train=float(cross_entropy(outputs_train, data.y_train)),
            delta_g=np.array([layer.g_p - layer.g_ap for layer in session.layers]),
            error_rms=np.array([np.sqrt(np.mean(e**2)) for e in errors]),
            error_worst=np.array([np.abs(e).max() for e in errors]),
            flagged=session.flagged,
            **figures,
        )
        yield Prediction(solution=solution.index, **predictions)
        passes = {Way.UNTUNED: (untuned, one), Way.TUNED: (tuned, scale)}
        if self.calibrate:
            calibrated = Calibrated(solution, data.x_train[: self.calibrate], trained, lambda a: a)
            passes[Way.CALIBRATED] = session.forward(one, calibrated), one
            yield calibrated.record()
        if self.subtract:
            passes[Way.SUBTRACTED] = session.forward(one, subtraction(solution, maps, trained)), one
        for way, (passed, scales) in passes.items():
            yield accuracy_record(
                solution.index,
                self.terms(way, n),
                classify(passed.z, scales[-1], biases[-1]),
                np.concatenate([data.y_train, data.y_test]),
                {"train": slice(n), "test": slice(n, None)},
                figures[f"float_{'tuned' if way is Way.TUNED else 'untuned'}_test"],
            )
        yield LayerCurrent(
            solution=solution.index,
            layer=np.repeat(np.arange(len(self.shapes)), [cols for _, cols in self.shapes]),
            untuned=np.concatenate(untuned.current, axis=1),
            untuned_ideal=np.concatenate(untuned.ideal, axis=1),
            tuned=np.concatenate(tuned.current, axis=1),
            tuned_ideal=np.concatenate(tuned.ideal, axis=1),
            g_p=np.array([layer.g_p for layer in session.layers]),
            g_ap=np.array([layer.g_ap for layer in session.layers]),
        )


class _Session:
    """One solution on the die, layer by layer, with the readings kept of each programmed layer.

    Args:
        trained: (K,), network scale that each layer was trained with; normalised currents are divided by it.
    """

    def __init__(
        self, die: Die, layers: list[LayerReadout], solution: Solution, x: FloatArray, trained: FloatArray
    ) -> None:
        self.layers = layers
        self._trained = trained
        self.flagged: IntArray = np.zeros(len(layers), np.int64)
        self._die, self._solution, self._x = die, solution, x
        self._response: dict[int, FloatArray] = {}
        self._first: FloatArray | None = None

    def programmed(self, phase: tuple[int, ...]) -> None:
        """Take the readings that need the layers of `phase` on the die."""
        for k in phase:
            if self.layers[k].settings.mode is Mode.SUPERPOSITION:
                self._response[k], flagged = self.layers[k].response(self._die)
                self.flagged[k] += flagged
        if 0 in phase:
            self._first = self._currents(0, self._x)

    def _currents(self, k: int, a: FloatArray) -> FloatArray:
        if k in self._response:
            total: FloatArray = self.layers[k].settings.v_read * (a @ self._response[k])
            return total
        current, flagged = self.layers[k].currents(self._die, a)
        self.flagged[k] += flagged
        return current

    def z_first(self, n: int) -> FloatArray:
        """Return the (n, n_out) normalised currents of the first layer for the first n samples."""
        assert self._first is not None
        return self._normalise(0, self._first[:n])

    def measure(self, k: int, a: FloatArray) -> FloatArray:
        """Return the normalised currents (n, n_out) of layer k for inputs a (n, n_in)."""
        return self._normalise(k, self._currents(k, a))

    def _normalise(self, k: int, current: FloatArray) -> FloatArray:
        normalised: FloatArray = self.layers[k].normalise(current) / self._trained[k]
        return normalised

    def forward(self, scales: FloatArray, adjust: Adjust | None = None) -> _Outputs:
        """Pass all samples through the network; the currents of the first layer are measured only once.

        Args:
            scales: (K,), network scales, beside those of the training.
            adjust: changes the normalised currents of each layer before its neurons get them.
        """
        assert self._first is not None
        a = self._x
        currents, ideals = [], []
        for k, (layer, programmed) in enumerate(zip(self.layers, self._solution.layers, strict=True)):
            current = self._first if k == 0 else self._currents(k, a)
            currents.append(current)
            ideals.append(layer.ideal(programmed.devices.astype(np.float64), a))
            z = self._normalise(k, current)
            z = z if adjust is None else adjust(k, a, z)
            a = activate(z, scales[k], programmed.bias)
        return _Outputs(currents, ideals, z)
