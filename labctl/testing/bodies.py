"""What every body of a die promises, simulated, under needles or on a board (`labctl.core.die.Die`)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from labctl.core.bias import Bias
from labctl.core.die import Die
from labctl.core.operations import Pulse, Reading, Sense, WritePlan
from labctl.core.units import BoolArray, IntArray, Second, Volt
from labctl.testing.contract import Check, carry_out, refuses, require
from protocols.bias import V_GATE, read_bias, write_bias

APERTURE: Second = 1e-3
MOST = 4
"""Cells that a check acts on."""


@dataclass(frozen=True)
class BodyUnderTest:
    """A body under test.

    Args:
        make: returns a new die of good cells for a polarity, at rest; the same every time.
        v_read: cell voltage at which the cells keep their state, V.
        v_write: cell voltage that switches each of them in `width`, V.
        width: of a pulse, s.
        v_gate: voltage of an open gate, V; a passive die has none.
    """

    make: Callable[[int], Die]
    v_read: Volt = 0.1
    v_write: Volt = 0.5
    width: Second = 1e-3
    v_gate: Volt = V_GATE

    def cells(self, die: Die) -> tuple[IntArray, IntArray, IntArray]:
        """Return kernels, rows and columns of some cells, none in one row or column with another where it can be."""
        kernels, rows, cols = die.geometry.shape
        k = np.arange(min(MOST, rows * cols))
        return k % kernels, k % rows, k % cols if cols > 1 else np.zeros_like(k)

    def read(self, die: Die, kernel: IntArray, row: IntArray, col: IntArray) -> Sense:
        """Return the read of n cells, one per pattern."""
        return Sense(
            read_bias(die.geometry, kernel, row, col, self.v_read, v_gate=self.v_gate),
            np.asarray(col)[:, None],
            APERTURE,
        )

    def write(self, die: Die, kernel: IntArray, row: IntArray, col: IntArray, to_p: BoolArray) -> Pulse:
        """Return a pulse on each of n cells, with its read."""
        bias = write_bias(die.geometry, kernel, row, col, to_p, v_gate=self.v_gate).scaled(self.v_write)
        return Pulse(bias, self.width, self.read(die, kernel, row, col))

    def states(self, die: Die, kernel: IntArray, row: IntArray, col: IntArray) -> BoolArray:
        """Return whether n cells read P."""
        current = die.sense(self.read(die, kernel, row, col)).current[:, 0]
        return np.asarray(np.abs(current) / self.v_read > die.nominal.cut(kernel))


class Unknown:
    """An operation that no die knows, although it looks like a read."""

    def __init__(self, sense: Sense) -> None:
        self.bias, self.cols, self.aperture, self.width, self.verify = sense.bias, sense.cols, 1e-3, 1e-3, None

    def __len__(self) -> int:
        return len(self.bias)


def it_is_a_die(subject: BodyUnderTest) -> None:
    """It has the verbs of a die, a shape, and nominal conductances of each kernel."""
    die = subject.make(1)
    require(isinstance(die, Die), f"{type(die).__name__} lacks verbs of a die")
    for kernel in range(die.geometry.kernels):
        g_ap, cut, g_p = die.nominal.g_ap(kernel), die.nominal.cut(kernel), die.nominal.g_p(kernel)
        require(0 < g_ap < cut < g_p, f"kernel {kernel}: G_AP {g_ap}, cut {cut}, G_P {g_p}")


def readings_have_the_shape_asked_for(subject: BodyUnderTest) -> None:
    """Readings are finite, have the shape asked for, and unflagged where nothing is at its limit."""
    die = subject.make(1)
    at = subject.cells(die)
    reading = die.sense(subject.read(die, *at))
    _shaped(reading, len(at[0]), 1)
    require(np.isfinite(reading.current).all(), f"currents are {reading.current}")
    require(
        not reading.flag.any() and not reading.pulse_flag.any(), f"flags are {reading.flag} and {reading.pulse_flag}"
    )
    none = die.pulse(Pulse(subject.write(die, *at, np.ones(len(at[0]), np.bool_)).bias, subject.width))
    _shaped(none, len(at[0]), 0)


def empty_batches_are_allowed(subject: BodyUnderTest) -> None:
    """A batch of no patterns returns none."""
    die = subject.make(1)
    none = (np.zeros(0, np.int64),) * 3
    _shaped(die.sense(subject.read(die, *none)), 0, 1)
    _shaped(die.pulse(subject.write(die, *none, np.zeros(0, np.bool_))), 0, 1)


def idle_is_harmless(subject: BodyUnderTest) -> None:
    """Idle may be called at any time, twice, and changes no cell."""
    die = subject.make(1)
    die.idle()
    die.idle()
    at = subject.cells(die)
    target = np.arange(len(at[0])) % 2 == 0
    _written(subject, die, at, target)
    die.idle()
    die.idle()
    _reads(subject, die, at, target)


def check_predicts_and_does_nothing(subject: BodyUnderTest) -> None:
    """`check` returns a time that grows with the batch, and nothing is done."""
    die = subject.make(1)
    at = subject.cells(die)
    before = subject.states(die, *at)
    sense, pulse = subject.read(die, *at), subject.write(die, *at, ~before)
    require(0 < die.check(sense.take(slice(1))) < die.check(sense), "the time does not grow with the batch")
    require(die.check(pulse) >= len(pulse) * pulse.width, "the time of pulses is below their width")
    _reads(subject, die, at, before)


def what_does_not_fit_is_refused(subject: BodyUnderTest) -> None:
    """Operations for dies of another shape are refused by `check` and by the verbs, and nothing is done."""
    die = subject.make(1)
    at = subject.cells(die)
    before = subject.states(die, *at)
    kernels, rows, cols = die.geometry.shape
    gate = None if die.geometry.kind == "passive" else np.zeros((1, rows))
    for what, bias in (
        ("a row too many", Bias(np.zeros((1, rows + 1)), np.zeros((1, cols)))),
        ("a column too many", Bias(np.zeros((1, rows)), np.zeros((1, cols + 1)), gate)),
        ("a kernel too far", Bias(np.zeros((1, rows)), np.zeros((1, cols)), gate, kernel=np.array(kernels))),
    ):
        for verb, act in (
            ("check", lambda bias=bias: die.check(Sense(bias, np.array([0])))),
            ("sense", lambda bias=bias: die.sense(Sense(bias, np.array([0])))),
            ("pulse", lambda bias=bias: die.pulse(Pulse(bias, subject.width))),
        ):
            refuses(act, f"{verb} of {what}")
    _reads(subject, die, at, before)


def an_unknown_operation_is_refused(subject: BodyUnderTest) -> None:
    """An operation of a type that it does not know is refused, however much it looks like one that it knows."""
    die = subject.make(1)
    unknown: Any = Unknown(subject.read(die, *subject.cells(die)))
    refuses(lambda: die.perform(unknown), "perform of an operation of an unknown type")


def a_pulse_switches_its_cell(subject: BodyUnderTest) -> None:
    """A pulse switches its cell to the state that its sign says, for either polarity, and its verify read shows it."""
    for polarity in (1, -1):
        die = subject.make(polarity)
        require(die.geometry.polarity == polarity, f"a die of polarity {polarity} has {die.geometry.polarity}")
        at = subject.cells(die)
        for target in (np.arange(len(at[0])) % 2 == 0, np.arange(len(at[0])) % 2 == 1):
            reading = _written(subject, die, at, target)
            shown = np.abs(reading.current[:, 0]) / subject.v_read > die.nominal.cut(at[0])
            require(np.array_equal(shown, target), f"verify reads show {shown}, {target} was written")
            _reads(subject, die, at, target)


def a_pattern_sees_what_the_one_before_did(subject: BodyUnderTest) -> None:
    """Patterns are carried out in order, each on what the one before has left."""
    die = subject.make(1)
    at = tuple(np.repeat(part[:1], 4) for part in subject.cells(die))
    target = np.array([True, False, False, True])
    reading = die.pulse(subject.write(die, at[0], at[1], at[2], target))
    shown = np.abs(reading.current[:, 0]) / subject.v_read > die.nominal.cut(at[0])
    require(np.array_equal(shown, target), f"one cell was written {target}, and reads {shown}")


def currents_are_positive_out_of_the_column(subject: BodyUnderTest) -> None:
    """The current is positive out of the column when the row is above it, and of the order of one cell."""
    die = subject.make(1)
    at = subject.cells(die)
    _written(subject, die, at, np.zeros(len(at[0]), np.bool_))
    current = die.sense(subject.read(die, *at)).current[:, 0]
    expected = subject.v_read * die.nominal.g_ap(at[0])
    require((current > 0.5 * expected).all(), f"{current} A flow; {expected} A were expected")


def a_write_plan_writes_and_verifies(subject: BodyUnderTest) -> None:
    """A write plan ends with its cells verified, and a cell without budget gets no pulse."""
    die = subject.make(1)
    at = subject.cells(die)
    target = ~subject.states(die, *at)
    budget = np.full(len(target), 5)
    budget[0] = 0
    plan = WritePlan(
        write=write_bias(die.geometry, *at, target, v_gate=subject.v_gate),
        verify=subject.read(die, *at),
        target=target,
        cut=np.asarray(die.nominal.cut(at[0])),
        v_read=subject.v_read,
        ladder=np.full(5, subject.v_write),
        budget=budget,
        width=subject.width,
    )
    attempts = die.program(plan)
    require(attempts.verified[1:].all(), f"verified are {attempts.verified}")
    require(0 not in attempts.cell, "a cell without budget got a pulse")
    _reads(subject, die, at, np.where(budget > 0, target, ~target))


def _shaped(reading: Reading, n: int, m: int) -> None:
    shapes = reading.current.shape, reading.flag.shape, reading.pulse_flag.shape
    require(shapes == ((n, m), (n, m), (n,)), f"shapes are {shapes}; {n} patterns of {m} columns were asked for")


def _written(subject: BodyUnderTest, die: Die, at: tuple[IntArray, IntArray, IntArray], target: BoolArray) -> Reading:
    return die.pulse(subject.write(die, *at, target))


def _reads(subject: BodyUnderTest, die: Die, at: tuple[IntArray, IntArray, IntArray], target: BoolArray) -> None:
    states = subject.states(die, *at)
    require(np.array_equal(states, target), f"cells read {states}; {target} was expected")


BODY_CHECKS: tuple[Check[BodyUnderTest], ...] = (
    it_is_a_die,
    readings_have_the_shape_asked_for,
    empty_batches_are_allowed,
    idle_is_harmless,
    check_predicts_and_does_nothing,
    what_does_not_fit_is_refused,
    an_unknown_operation_is_refused,
    a_pulse_switches_its_cell,
    a_pattern_sees_what_the_one_before_did,
    currents_are_positive_out_of_the_column,
    a_write_plan_writes_and_verifies,
)


def check_body(
    make: Callable[[int], Die],
    *,
    v_read: Volt = 0.1,
    v_write: Volt = 0.5,
    width: Second = 1e-3,
    v_gate: Volt = V_GATE,
) -> None:
    """Carry out the contract of a body; ContractError names every check that it breaks.

    Cells are pulsed: use simulated cells, or a die that may be worn. Arguments as of `BodyUnderTest`.
    """
    subject = BodyUnderTest(make, v_read, v_write, width, v_gate)
    carry_out("the body", BODY_CHECKS, lambda: subject)
