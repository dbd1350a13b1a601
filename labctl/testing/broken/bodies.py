"""Broken bodies, one for each check."""

from dataclasses import replace
from typing import Any

import numpy as np

from labctl.core.bias import Nominal
from labctl.core.errors import LabError
from labctl.core.operations import Pulse, Sense
from labctl.testing import bodies
from labctl.testing.broken.around import Around, Break


class _NoNominal(Around):
    @property
    def nominal(self) -> Nominal:
        """Tell G_AP above G_P."""
        kernels = self._inner.geometry.kernels
        return Nominal.alike(1e-4, 2e-4, kernels)


class _Verbs(Around):
    """A body whose verbs are spelled on its own `perform`."""

    def perform(self, operation: Any) -> Any:
        """Do `operation`."""
        return self._inner.perform(operation)

    def sense(self, sense: Any) -> Any:
        """Read."""
        return self.perform(sense)

    def pulse(self, pulse: Any) -> Any:
        """Pulse."""
        return self.perform(pulse)

    def program(self, plan: Any) -> Any:
        """Write."""
        return self._inner.program(plan)


class _FlatReadings(_Verbs):
    def perform(self, operation: Any) -> Any:
        """Lose the second axis of currents."""
        reading = self._inner.perform(operation)
        return replace(reading, current=reading.current.ravel())


class _NeedsPatterns(_Verbs):
    def perform(self, operation: Any) -> Any:
        """Fail without patterns."""
        return self._inner.perform(operation) if operation.bias.row[0] is not None else None


class _ForgetsWhenIdle(_Verbs):
    def idle(self) -> None:
        """Write every cell AP."""
        subject = bodies.BodyUnderTest(lambda polarity: self._inner)
        at = subject.cells(self._inner)
        self._inner.pulse(subject.write(self._inner, *at, np.zeros(len(at[0]), np.bool_)))
        self._inner.idle()


class _ChecksByDoing(_Verbs):
    def check(self, operation: Any) -> Any:
        """Do it to learn how long it takes."""
        seconds = self._inner.check(operation)
        self._inner.perform(operation)
        return seconds


class _TakesAnyShape(_Verbs):
    def check(self, operation: Any) -> Any:
        """Predict a time for anything."""
        try:
            return self._inner.check(operation)
        except LabError:
            return 1e-3 * len(operation)


class _TakesAnyType(_Verbs):
    def perform(self, operation: Any) -> Any:
        """Read by whatever looks like a read."""
        if not isinstance(operation, Sense | Pulse):
            operation = Sense(operation.bias, operation.cols)
        return self._inner.perform(operation)


class _DeafToPulses(_Verbs):
    def perform(self, operation: Any) -> Any:
        """Read in place of a pulse."""
        return self._inner.perform(operation.verify if isinstance(operation, Pulse) and operation.verify else operation)


class _ReadsLast(_Verbs):
    def perform(self, operation: Any) -> Any:
        """Do all pulses before the first verify read."""
        if not isinstance(operation, Pulse) or operation.verify is None:
            return self._inner.perform(operation)
        self._inner.perform(replace(operation, verify=None))
        return self._inner.perform(operation.verify)


class _TurnsCurrentsRound(_Verbs):
    def perform(self, operation: Any) -> Any:
        """Count the current into the column as positive."""
        reading = self._inner.perform(operation)
        return replace(reading, current=-reading.current)


class _IgnoresBudgets(_Verbs):
    def program(self, plan: Any) -> Any:
        """Give every cell five pulses."""
        return self._inner.program(replace(plan, budget=np.full(len(plan), 5)))


BROKEN_BODIES: dict[str, Break] = {
    "it_is_a_die": _NoNominal,
    "readings_have_the_shape_asked_for": _FlatReadings,
    "empty_batches_are_allowed": _NeedsPatterns,
    "idle_is_harmless": _ForgetsWhenIdle,
    "check_predicts_and_does_nothing": _ChecksByDoing,
    "what_does_not_fit_is_refused": _TakesAnyShape,
    "an_unknown_operation_is_refused": _TakesAnyType,
    "a_pulse_switches_its_cell": _DeafToPulses,
    "a_pattern_sees_what_the_one_before_did": _ReadsLast,
    "currents_are_positive_out_of_the_column": _TurnsCurrentsRound,
    "a_write_plan_writes_and_verifies": _IgnoresBudgets,
}
