"""Broken pulse sources, one for each check."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from labctl.core.errors import InstrumentError, LabError
from labctl.core.pulse_source import PulseSetup
from labctl.testing.broken.around import Around, Break, with_method


def _sets_up_on_connect(inner: Any) -> Any:
    identity, known = inner.connect(), inner.capabilities
    inner.prepare({known.channels[0]: PulseSetup(known.volts[1], known.widths[1])})
    return identity


class _Faster(Around):
    """A driver whose class knows of other widths than its declaration."""

    @property
    def capabilities(self) -> Any:
        return replace(self._inner.capabilities, widths=(1e-12, 1.0))


def _sets_up_half(inner: Any, setups: Any) -> None:
    inner.prepare({channel: PulseSetup(setup.limit / 2, setup.longest) for channel, setup in setups.items()})


def _fires_twice(inner: Any, *pulse: Any) -> None:
    inner.fire(*pulse)
    inner.fire(*pulse)


class _StaysOn(Around):
    """A driver that leaves its output on behind a pulse."""

    def fire(self, channel: str, volts: float, seconds: float) -> None:
        self._inner.fire(channel, volts, seconds)
        object.__setattr__(self, "on", channel)

    def state(self) -> Any:
        on = self.__dict__.get("on")
        return {name: replace(state, output=name == on) for name, state in self._inner.state().items()}


def _makes_nothing_instead(inner: Any, *pulse: Any) -> None:
    with suppress(LabError):
        inner.fire(*pulse)


def _not_off(inner: Any, rate: Any = None) -> None:
    raise InstrumentError("it has never been on")


BROKEN_PULSE_SOURCES: dict[str, Break] = {
    "connecting_changes_nothing": with_method("connect", _sets_up_on_connect),
    "its_capabilities_are_those_declared": _Faster,
    "set_up_it_waits_behind_its_limits": with_method("prepare", _sets_up_half),
    "a_pulse_is_one_and_as_asked_for": with_method("fire", _fires_twice),
    "the_output_is_off_behind_a_pulse": _StaysOn,
    "what_is_beyond_the_setup_is_refused": with_method("fire", _makes_nothing_instead),
    "off_may_be_called_at_any_time": with_method("off", _not_off),
}
