"""Records of the protocols, one class per table.

Ratios run from 0 to 1. An interval is the 95 % Wilson score interval, (low, high). `solution` is the number a
solution carries in its file; attempts of a survey have -1. Arrays of both write directions are indexed `[0]`
towards AP, `[1]` towards P. Every field has a line of text; `axes` names the axes of the arrays of one record,
other than the only axis of a columnar one. One module, because readers of a run need all tables and no protocol.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from labctl.core.cell_state import CellStateArray
from labctl.core.defects import DefectArray
from labctl.core.operations import FlagArray
from labctl.core.record import Record
from labctl.core.units import (
    Ampere,
    Amperes,
    BoolArray,
    Conductances,
    FloatArray,
    IntArray,
    Ratio,
    Second,
    Seconds,
    Unit,
    Volt,
    Volts,
)
from protocols.die_information import DieInformation

Ratios = Annotated[FloatArray, Unit("")]
SURVEY = -1
"""`solution` of attempts that belong to a survey."""
TRIAL = -1
"""Round of attempts that are trials of write error rates, and none to write their cells."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Attempt(Record):
    """Every pulse and its read-back: `a` attempts in the order they were made."""

    table: ClassVar[str] = "attempt"
    columnar: ClassVar[bool] = True

    solution: IntArray
    """(a,), number of the solution in its file, -1 in a survey"""
    round: IntArray
    """(a,), -1 trials, 0 programming, 1 and up: repair rounds; in a survey 1: cells that had not changed, anew"""
    kernel: IntArray
    """(a,), kernel of the cell"""
    row: IntArray
    """(a,), row of the cell"""
    col: IntArray
    """(a,), column of the cell"""
    attempt: IntArray
    """(a,), 1 for the first pulse of that cell in that round"""
    target: BoolArray
    """(a,), True is P"""
    trial: BoolArray
    """(a,), the cell was last read in the other state, so that the pulse had something to switch"""
    voltage: Volts
    """(a,), magnitude at the selected cell"""
    width: Seconds
    """(a,), width of the pulse"""
    conductance: Conductances
    """(a,), of the verify read"""
    flag: FlagArray
    """(a,), bits of `Flag`, of the verify read"""
    pulse_flag: FlagArray
    """(a,), bits of `Flag`, of the pulse: compliance of a line of the cell, which need not be the cell's doing"""
    verified: BoolArray
    """(a,), the read is unflagged, not open, and equals the target"""


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadBack(Record):
    """The last read of every placed cell of a solution, before inference: n cells."""

    table: ClassVar[str] = "readback"
    columnar: ClassVar[bool] = True

    solution: IntArray
    """(n,), number of the solution in its file"""
    layer: IntArray
    """(n,), layer that the cell belongs to, from 0"""
    kernel: IntArray
    """(n,), kernel of the cell"""
    row: IntArray
    """(n,), row of the cell"""
    col: IntArray
    """(n,), column of the cell"""
    target: BoolArray
    """(n,), True is P"""
    state: CellStateArray
    """(n,), codes of `CellState`: by the cut of the cell, and open or unreadable, which is neither P nor AP"""
    conductance: Conductances
    """(n,), of the read"""
    flag: FlagArray
    """(n,), bits of `Flag`, of the read"""


@dataclass(frozen=True, eq=False, kw_only=True)
class KernelSurvey(Record):
    """Survey of one kernel."""

    table: ClassVar[str] = "survey"
    axes: ClassVar[dict[str, tuple[str, ...]]] = dict.fromkeys(
        ("g_initial", "g_p", "g_ap", "tmr", "defect"), ("row", "col")
    )

    kernel: int
    """kernel surveyed"""
    g_initial: Conductances
    """(n_rows, n_cols), as found"""
    g_p: Conductances
    """(n_rows, n_cols), after writing P"""
    g_ap: Conductances
    """(n_rows, n_cols), after writing AP"""
    tmr: Ratios
    """(n_rows, n_cols), g_p / g_ap - 1"""
    defect: DefectArray
    """(n_rows, n_cols), codes of `Defect`"""
    good: int
    """number of good cells"""
    v_max: Volt
    """last rung of the ladder: up to here a stuck cell did not switch"""
    width: Second
    """width of the pulses"""
    offset: Ampere = float("nan")
    """mean current that the meters read at 0 V; NaN if it was not measured (`offset_reads`)"""
    noise: Ampere = float("nan")
    """standard deviation of that current from reading to reading; NaN likewise"""


@dataclass(frozen=True, eq=False, kw_only=True)
class InferenceMap(Record):
    """What the cells of a kernel conduct when they are read as inference reads them."""

    table: ClassVar[str] = "inference_map"
    axes: ClassVar[dict[str, tuple[str, ...]]] = dict.fromkeys(("g_p", "g_ap"), ("row", "col"))

    kernel: int
    """kernel surveyed"""
    v_read: Volt
    """cell voltage, applied in both directions: offsets of the meter cancel"""
    v_gate: Volt
    """gate voltage of the open row of a 1T1R die"""
    g_p: Conductances
    """(n_rows, n_cols), after writing P; a short has the same twice"""
    g_ap: Conductances
    """(n_rows, n_cols), after writing AP"""
    v_second_gate: Volt = float("nan")
    """gate voltage at which everything was read as well; NaN if at one only"""
    second_share: Ratio = 0.0
    """share of the second reading that was taken off the first"""

    @property
    def gates(self) -> tuple[tuple[Volt, float], ...]:
        """Gate voltages that were read at, with their weights, as in `ReadSettings`."""
        second = ((self.v_second_gate, -self.second_share),) if self.second_share else ()
        return ((self.v_gate, 1.0), *second)


@dataclass(frozen=True, eq=False, kw_only=True)
class Line(Record):
    """A line on which at least half of the cells pulsed by a survey met compliance: it is the line, not those cells."""

    table: ClassVar[str] = "line"

    kernel: int
    """kernel of the line"""
    axis: str
    """row or col"""
    index: int
    """which row or column"""
    share: Ratio
    """cells with a pulse in compliance / cells pulsed on this line"""
    shorts: int
    """cells of this line known to be shorts"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Write(Record):
    """How the programming of one solution ended; a ladder of k rungs.

    WER counts the pulses on cells that were last read in the other state, whose read-back is unflagged and during which
    no line was in compliance, without those on a cell that was given up and never seen to switch that way
    (`stuck_pulses`). Its intervals are those of cells that differ.
    """

    table: ClassVar[str] = "write"
    axes: ClassVar[dict[str, tuple[str, ...]]] = {
        "fidelity_interval": ("bound",),
        "fidelity_blind_interval": ("bound",),
        "wer_to_p_interval": ("bound",),
        "wer_to_ap_interval": ("bound",),
        "rung": ("rung",),
        "rung_pulses": ("direction", "rung"),
        "rung_failures": ("direction", "rung"),
        "stuck_pulses": ("direction",),
    }

    solution: int
    """number of the solution in its file"""
    cells: int
    """placed cells, defects included"""
    correct: int
    """placed cells whose read-back equals the target; an open cell never does"""
    fidelity: Ratio
    """correct / cells"""
    fidelity_interval: Ratios
    """(2,), 95 % interval of the fidelity"""
    fidelity_blind: Ratio
    """the same after one pulse on every cell and nothing else: open loop; NaN if the cells were not written so"""
    fidelity_blind_interval: Ratios
    """(2,), 95 % interval of fidelity_blind"""
    pulses: int
    """pulses given, all of them"""
    pulses_per_cell: Ratio
    """pulses / cells"""
    wer_to_p: Ratio
    """failed / counted pulses towards P over all rungs, which mixes voltages: for one see rung_failures, rung_pulses"""
    wer_to_p_interval: Ratios
    """(2,), 95 % interval of wer_to_p; (0, 1) if no pulse counts"""
    wer_to_ap: Ratio
    """the same towards AP, over all rungs"""
    wer_to_ap_interval: Ratios
    """(2,), 95 % interval of wer_to_ap; (0, 1) if no pulse counts"""
    rung: Volts
    """(k,), voltages of the ladder"""
    rung_pulses: IntArray
    """(2, k), pulses that count for WER, per direction and rung"""
    rung_failures: IntArray
    """(2, k), of these the ones that left the cell wrong"""
    stuck_pulses: IntArray
    """(2,), pulses per direction on cells that were given up and never switched that way; not in WER"""
    limited_pulses: int
    """pulses during which a line was in compliance; not in WER, their voltage is not the one of the rung"""
    width: Second
    """width of the pulses"""
    v_read: Volt
    """cell voltage of the reads"""
    repaired: int
    """cells that were right, were found flipped, and are right again"""
    gave_up: int
    """cells left wrong: given up as stuck, or after the budget or the repair rounds"""
    stuck: int
    """of these, cells given up: surveyed open or stuck, or by the test of their failed pulses; not pulsed any more"""
    flipped_unplaced: int
    """cells of these kernels without a weight that changed state since they were last read whole; not rewritten"""
    shorts: int
    """placed cells that are shorts and got no (further) pulse"""
    unreadable: int
    """placed cells whose last read is flagged"""
    opens: int
    """placed cells that read open; `fidelity` counts one whose target is AP as right, for it works as one"""


@dataclass(frozen=True, eq=False, kw_only=True)
class WriteErrorRate(Record):
    """Write error rates of all solutions of a stage together: by kernel, direction, first or later pulse, and voltage.

    Pulses count as in `write`, judged by what is known at the end of the stage. Every cell that has to change gets a
    first pulse, and only a cell that failed it, or that disturb has flipped, gets a later one in that solution: the
    rates of first pulses are those of all cells, the others those of such cells.
    """

    table: ClassVar[str] = "wer"
    columnar: ClassVar[bool] = True

    kernel: IntArray
    """(n,), kernel of the cells"""
    target: BoolArray
    """(n,), True is P"""
    first: BoolArray
    """(n,), first pulses on their cells in a solution, in that direction"""
    voltage: Volts
    """(n,), magnitude at the selected cell"""
    width: Seconds
    """(n,), width of the pulses"""
    cells: IntArray
    """(n,), cells that were pulsed"""
    pulses: IntArray
    """(n,), pulses that count"""
    failures: IntArray
    """(n,), of these the ones that left the cell wrong"""
    wer: Ratios
    """(n,), failures / pulses"""
    wer_low: Ratios
    """(n,), lower end of the 95 % interval of wer, which holds when cells differ"""
    wer_high: Ratios
    """(n,), upper end of it"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Inference(Record):
    """Classification by one programmed solution; K layers, C classes. Untuned is scale 1 in every layer."""

    table: ClassVar[str] = "inference"
    axes: ClassVar[dict[str, tuple[str, ...]]] = {
        **{f"interval_{tuning}_{part}": ("bound",) for tuning in ("untuned", "tuned") for part in ("train", "test")},
        **{
            f"confusion_{tuning}_{part}": ("label", "predicted")
            for tuning in ("untuned", "tuned")
            for part in ("train", "test")
        },
        **dict.fromkeys(("scale", "float_scale", "delta_g", "error_rms", "error_worst", "flagged"), ("layer",)),
    }

    solution: int
    """number of the solution in its file"""
    scale: Ratios
    """(K,), network scale of each layer, over that of its training, tuned on the training samples"""
    accuracy_untuned_train: Ratio
    """right / all training samples at scale 1"""
    accuracy_untuned_test: Ratio
    """right / all test samples at scale 1"""
    accuracy_tuned_train: Ratio
    """right / all training samples at `scale`, on which it was tuned"""
    accuracy_tuned_test: Ratio
    """right / all test samples at `scale`"""
    interval_untuned_train: Ratios
    """(2,), 95 % interval of accuracy_untuned_train"""
    interval_untuned_test: Ratios
    """(2,), 95 % interval of accuracy_untuned_test"""
    interval_tuned_train: Ratios
    """(2,), 95 % interval of accuracy_tuned_train"""
    interval_tuned_test: Ratios
    """(2,), 95 % interval of accuracy_tuned_test"""
    confusion_untuned_train: IntArray
    """(C, C), [label, predicted], training samples at scale 1"""
    confusion_untuned_test: IntArray
    """(C, C), [label, predicted], test samples at scale 1"""
    confusion_tuned_train: IntArray
    """(C, C), [label, predicted], training samples at `scale`"""
    confusion_tuned_test: IntArray
    """(C, C), [label, predicted], test samples at `scale`"""
    cross_entropy_tuned_train: Ratio
    """nats per training sample at `scale`"""
    float_untuned_train: Ratio
    """accuracy of the network in software at scale 1, training samples"""
    float_untuned_test: Ratio
    """accuracy of the network in software at scale 1, test samples"""
    float_same_train: Ratio
    """accuracy in software at the scales tuned on the die, training samples"""
    float_same_test: Ratio
    """accuracy in software at the scales tuned on the die, test samples"""
    float_scale: Ratios
    """(K,), network scale of each layer, over that of its training, tuned in software"""
    float_tuned_train: Ratio
    """accuracy in software at `float_scale`, training samples"""
    float_tuned_test: Ratio
    """accuracy in software at `float_scale`, test samples"""
    delta_g: Conductances
    """(K,), G_P - G_AP that normalises the currents of each layer"""
    error_rms: Ratios
    """(K,), root mean square of column current minus ideal, untuned, in units of v_read (G_P - G_AP)"""
    error_worst: Ratios
    """(K,), largest magnitude of the same"""
    flagged: IntArray
    """(K,), readings still flagged when repeated, two of a vector read both ways; without a value it counts as 0 A"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction(Record):
    """Predicted classes of one solution, in the order of the samples."""

    table: ClassVar[str] = "prediction"
    axes: ClassVar[dict[str, tuple[str, ...]]] = dict.fromkeys(
        ("untuned_train", "untuned_test", "tuned_train", "tuned_test"), ("sample",)
    )

    solution: int
    """number of the solution in its file"""
    untuned_train: IntArray
    """(training samples,), class at scale 1"""
    untuned_test: IntArray
    """(test samples,), class at scale 1"""
    tuned_train: IntArray
    """(training samples,), class at the tuned scales"""
    tuned_test: IntArray
    """(test samples,), class at the tuned scales"""


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerCurrent(Record):
    """Column currents of one solution: n samples (train, test) by the columns of all K layers side by side.

    Where a layer lies on kernels of different sizes, those of each kernel count in units of the layer's G_P - G_AP.
    """

    table: ClassVar[str] = "layer_current"
    axes: ClassVar[dict[str, tuple[str, ...]]] = {
        "layer": ("column",),
        **dict.fromkeys(("untuned", "untuned_ideal", "tuned", "tuned_ideal"), ("sample", "column")),
        **dict.fromkeys(("g_p", "g_ap"), ("layer",)),
    }

    solution: int
    """number of the solution in its file"""
    layer: IntArray
    """(columns,), which layer a column belongs to, from 0"""
    untuned: Amperes
    """(n, columns), at scale 1"""
    untuned_ideal: Amperes
    """(n, columns), of ideal cells in their target states under the same inputs, at scale 1"""
    tuned: Amperes
    """(n, columns), at the tuned scales"""
    tuned_ideal: Amperes
    """(n, columns), of ideal cells in their target states under the same inputs, at the tuned scales"""
    g_p: Conductances
    """(K,), G_P of the ideal cells of each layer"""
    g_ap: Conductances
    """(K,), G_AP of the ideal cells of each layer"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Accuracy(Record):
    """One accuracy of one programmed solution, with the terms under which it was reached (`AccuracyTerms`)."""

    table: ClassVar[str] = "accuracy"
    axes: ClassVar[dict[str, tuple[str, ...]]] = {"interval_test": ("bound",), "prediction_test": ("sample",)}

    solution: int
    """number of the solution in its file"""
    way: str
    """untuned, tuned, calibrated or subtracted: how currents became classes"""
    per_die: bool
    """the weights were trained for this die and no other"""
    trained_with: Annotated[int, DieInformation]
    """code of `DieInformation`: what training knew of the die, as far as the file of the weights says"""
    remapped: bool
    """the network was placed by the survey of the die"""
    labelled: int
    """samples with labels read on the die to choose network scales"""
    unlabelled: int
    """samples without labels read on the die to calibrate neurons"""
    second_gate: bool
    """a share of what was read at another gate was taken off every column"""
    information: Annotated[int, DieInformation]
    """code of `DieInformation`: the most that was known of the die"""
    analog: bool
    """no weight was computed digitally; where one was, it is not analog inference"""
    accuracy_train: Ratio
    """right / all training samples that were inferred"""
    accuracy_test: Ratio
    """right / all test samples"""
    interval_test: Ratios
    """(2,), 95 % interval of accuracy_test"""
    software_test: Ratio
    """accuracy of the same network in software, test samples: at the scales trained, if tuned at those tuned there"""
    drop_test: Ratio
    """software_test - accuracy_test: test error less that of the same network in software"""
    prediction_test: IntArray
    """(test samples,), predicted class"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Remap(Record):
    """Where the hidden neurons of a solution were placed by the survey of a die: n neurons of all hidden layers."""

    table: ClassVar[str] = "remap"
    columnar: ClassVar[bool] = True

    solution: IntArray
    """(n,), number of the solution in its file"""
    layer: IntArray
    """(n,), hidden layer, from 0"""
    place: IntArray
    """(n,), pair of columns of that layer, from 0"""
    neuron: IntArray
    """(n,), neuron of the solution that stands there"""
    flipped: BoolArray
    """(n,), with its weights and bias negated"""
    error_before: Ratios
    """(n,), of the solution: rms error of the inputs of the last neurons expected by the survey, not remapped"""
    error_after: Ratios
    """(n,), the same as remapped"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Calibration(Record):
    """Gain and offset of every neuron of a solution, calibrated on unlabelled samples: n neurons of all layers."""

    table: ClassVar[str] = "calibration"
    columnar: ClassVar[bool] = True

    solution: IntArray
    """(n,), number of the solution in its file"""
    layer: IntArray
    """(n,), layer of the neuron, from 0"""
    neuron: IntArray
    """(n,), pair of columns as programmed, from 0; in the last layer the class"""
    gain: Ratios
    """(n,), factor of its normalised current"""
    offset: Ratios
    """(n,), added to that"""


TABLES: tuple[type[Record], ...] = (
    Attempt,
    ReadBack,
    KernelSurvey,
    InferenceMap,
    Line,
    Write,
    WriteErrorRate,
    Inference,
    Prediction,
    LayerCurrent,
    Accuracy,
    Remap,
    Calibration,
)
"""Every table that the protocols write."""
