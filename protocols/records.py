"""What the protocols learn, one class per table.

Ratios run from 0 to 1. An interval is the 95 % Wilson score interval, (low, high). `solution` is the number a
solution carries in its file; attempts of a survey have -1. Arrays of both write directions are indexed `[0]`
towards AP, `[1]` towards P.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt

from labctl.core.die import FlagArray
from labctl.core.procedure import Record
from labctl.core.units import (
    Amperes,
    BoolArray,
    Conductances,
    FloatArray,
    IntArray,
    Ratio,
    Second,
    Unit,
    Volt,
    Volts,
)

Ratios = Annotated[FloatArray, Unit("")]
SURVEY = -1
"""`solution` of attempts that belong to a survey."""


class Defect(IntEnum):
    """What a survey calls a cell."""

    GOOD = 0
    SHORT = 1
    OPEN = 2
    STUCK_P = 3
    STUCK_AP = 4
    LOW_TMR = 5
    UNREADABLE = 6


@dataclass(frozen=True, eq=False, kw_only=True)
class Attempt(Record):
    """Every pulse and its read-back: `a` attempts in the order they were made."""

    table: ClassVar[str] = "attempt"
    columnar: ClassVar[bool] = True

    solution: IntArray
    """(a,), -1 in a survey"""
    round: IntArray
    """(a,), 0 programming, 1 and up: repair rounds"""
    kernel: IntArray
    row: IntArray
    col: IntArray
    attempt: IntArray
    """(a,), 1 for the first pulse of that cell in that round"""
    target: BoolArray
    """(a,), True is P"""
    voltage: Volts
    """(a,), magnitude at the selected cell"""
    conductance: Conductances
    """(a,), of the verify read"""
    flag: FlagArray
    """(a,), bits of `Flag`, of the pulse or its read"""
    verified: BoolArray
    """(a,), the read is unflagged and equals the target"""


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadBack(Record):
    """The last read of every placed cell of a solution, before inference."""

    table: ClassVar[str] = "readback"
    columnar: ClassVar[bool] = True

    solution: IntArray
    layer: IntArray
    kernel: IntArray
    row: IntArray
    col: IntArray
    target: BoolArray
    """(n,), True is P"""
    state: BoolArray
    """(n,), conductance above the cut of the cell"""
    conductance: Conductances
    flag: FlagArray


@dataclass(frozen=True, eq=False, kw_only=True)
class KernelSurvey(Record):
    """Survey of one kernel, arrays (n_rows, n_cols)."""

    table: ClassVar[str] = "survey"

    kernel: int
    g_initial: Conductances
    """as found"""
    g_p: Conductances
    """after writing P"""
    g_ap: Conductances
    """after writing AP"""
    tmr: Ratios
    """g_p / g_ap - 1"""
    defect: npt.NDArray[np.uint8]
    """codes of `Defect`"""
    good: int
    """number of good cells"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Write(Record):
    """How the programming of one solution ended."""

    table: ClassVar[str] = "write"

    solution: int
    cells: int
    """placed cells, defects included"""
    correct: int
    """placed cells whose read-back equals the target"""
    fidelity: Ratio
    """correct / cells"""
    fidelity_interval: Ratios
    """(2,)"""
    pulses: int
    pulses_per_cell: Ratio
    """pulses / cells"""
    wer_to_p: Ratio
    """failed / all pulses towards P whose read-back is unflagged; 0 if there were none"""
    wer_to_p_interval: Ratios
    wer_to_ap: Ratio
    wer_to_ap_interval: Ratios
    rung: Volts
    """(k,), the ladder"""
    rung_pulses: IntArray
    """(2, k), unflagged pulses per direction and rung"""
    rung_failures: IntArray
    """(2, k), of these the ones that left the cell wrong"""
    width: Second
    v_read: Volt
    repaired: int
    """cells that were right, were found flipped, and are right again"""
    gave_up: int
    """cells left wrong after the whole ladder, the budget or the repair rounds"""
    shorts: int
    """placed cells that are shorts and got no (further) pulse"""
    unreadable: int
    """placed cells whose last read is flagged"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Inference(Record):
    """Classification by one programmed solution; K layers, C classes. Untuned is scale 1 in every layer."""

    table: ClassVar[str] = "inference"

    solution: int
    scale: Ratios
    """(K,), network scale of each layer, tuned on the training samples"""
    accuracy_untuned_train: Ratio
    accuracy_untuned_test: Ratio
    accuracy_tuned_train: Ratio
    accuracy_tuned_test: Ratio
    interval_untuned_train: Ratios
    interval_untuned_test: Ratios
    interval_tuned_train: Ratios
    interval_tuned_test: Ratios
    confusion_untuned_train: IntArray
    """(C, C), [label, predicted]"""
    confusion_untuned_test: IntArray
    confusion_tuned_train: IntArray
    confusion_tuned_test: IntArray
    cross_entropy_tuned_train: Ratio
    """nats per sample"""
    float_untuned_train: Ratio
    """the network in software, at scale 1"""
    float_untuned_test: Ratio
    float_same_train: Ratio
    """in software, at the scales tuned on the die"""
    float_same_test: Ratio
    float_scale: Ratios
    """(K,), tuned in software"""
    float_tuned_train: Ratio
    """in software, at `float_scale`"""
    float_tuned_test: Ratio
    delta_g: Conductances
    """(K,), G_P - G_AP that normalises the currents of each layer"""
    error_rms: Ratios
    """(K,), column current minus ideal, untuned, in units of v_read (G_P - G_AP)"""
    error_worst: Ratios
    """(K,), largest magnitude of the same"""
    flagged: IntArray
    """(K,), readings still flagged after a repetition; one without a value counts as 0 A"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction(Record):
    """Predicted classes of one solution, in the order of the samples."""

    table: ClassVar[str] = "prediction"

    solution: int
    untuned_train: IntArray
    untuned_test: IntArray
    tuned_train: IntArray
    tuned_test: IntArray


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerCurrent(Record):
    """Column currents of one solution: n samples (train, test) by the columns of all layers side by side."""

    table: ClassVar[str] = "layer_current"

    solution: int
    layer: IntArray
    """(columns,), which layer a column belongs to"""
    untuned: Amperes
    """(n, columns)"""
    untuned_ideal: Amperes
    """(n, columns), of ideal cells in their target states under the same inputs"""
    tuned: Amperes
    tuned_ideal: Amperes
    g_p: Conductances
    """(K,), of the ideal cells of each layer"""
    g_ap: Conductances


TABLES: tuple[type[Record], ...] = (
    Attempt,
    ReadBack,
    KernelSurvey,
    Write,
    Inference,
    Prediction,
    LayerCurrent,
)
"""Every table that the protocols write."""
