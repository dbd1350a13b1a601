"""Broken sources, one for each check."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from labctl.core.errors import LabError
from labctl.core.operations import Flag
from labctl.core.source import ChannelState, Level, Limit, Ramp
from labctl.testing import sources
from labctl.testing.broken.around import Around, Break, with_method


class _Unconnected(Around):
    @property
    def capabilities(self) -> Any:
        """Fail, as a driver does that asks its instrument."""
        self._inner.state()
        raise LabError("not connected")


class _OtherCapabilities(Around):
    @property
    def capabilities(self) -> Any:
        """Tell another shortest pulse than the declaration."""
        return replace(self._inner.capabilities, shortest_pulse=1.0)


class _Misdeclared(Around):
    @property
    def capabilities(self) -> Any:
        """Tell the opposite of what levels do."""
        return replace(self._inner.capabilities, stands=not self._inner.capabilities.stands)


def _resets(inner: Any) -> Any:
    identity = inner.connect()
    inner.off()
    return identity


def _forgets(inner: Any) -> Any:
    return dict(list(inner.state().items())[:-1])


def _switches_on(inner: Any, setups: Any) -> None:
    inner.prepare(setups)
    inner.output(list(setups))


def _takes_anything(inner: Any, setups: Any) -> None:
    try:
        inner.prepare(setups)
    except LabError:
        return


def _sets_up_by_itself(inner: Any, channels: Any) -> None:
    inner.prepare({channel: sources.setup_of(inner.capabilities) for channel in channels})
    inner.output(channels)


class _OnAtALevel(Around):
    _level: ClassVar[dict[int, bool]] = {}

    def output(self, channels: Any) -> None:
        """Switch on, and tell of a level from then on."""
        self._inner.output(channels)
        self._level[id(self)] = True

    def state(self) -> Any:
        """Tell of 20 mV at outputs that are on."""
        states = self._inner.state()
        return {n: replace(c, level=0.02) if c.output and id(self) in self._level else c for n, c in states.items()}


def _loses_samples(inner: Any, steps: Any) -> Any:
    return inner.run(steps)[:-1]


def _clips_levels(inner: Any, steps: Any) -> Any:
    top = inner.capabilities.ranges_v[0]
    return inner.run([replace(s, volts=min(s.volts, top)) if isinstance(s, Level) else s for s in steps])


def _clips_limits(inner: Any, steps: Any) -> Any:
    top = sources.setup_of(inner.capabilities).limit
    return inner.run([replace(s, limit=min(s.limit, top)) if isinstance(s, Limit) else s for s in steps])


def _ramps_half_way(inner: Any, steps: Any) -> Any:
    return inner.run([replace(s, volts=s.volts / 2) if isinstance(s, Ramp) else s for s in steps])


def _turns_currents_round(inner: Any, steps: Any) -> Any:
    return [replace(sample, current=-sample.current) for sample in inner.run(steps)]


def _reports_no_compliance(inner: Any, steps: Any) -> Any:
    return [replace(sample, flag=sample.flag & ~Flag.COMPLIANCE) for sample in inner.run(steps)]


def _reads_all_the_same(inner: Any, steps: Any) -> Any:
    try:
        return inner.run(steps)
    except LabError:
        return []


def _leaves_on(inner: Any, rate: Any = None) -> None:
    return


class _OffOnce(Around):
    _done: ClassVar[set[int]] = set()

    def off(self, rate: Any = None) -> None:
        """Switch off once, and fail from then on."""
        if id(self._inner) in self._done:
            raise LabError("it is off already")
        self._done.add(id(self._inner))
        self._inner.off(rate)


def _sees_nothing(inner: Any) -> None:
    return


def _emergency_on_paper(inner: Any) -> Mapping[str, ChannelState]:
    return {name: replace(state, output=True) for name, state in inner.state().items()}


class _ClosesOnce(Around):
    _done: ClassVar[set[int]] = set()

    def close(self) -> None:
        """Close once, and fail from then on."""
        if id(self._inner) in self._done:
            raise LabError("it is closed already")
        self._done.add(id(self._inner))
        self._inner.close()


BROKEN_SOURCES: dict[str, Break] = {
    "capabilities_are_known_without_a_connection": _Unconnected,
    "capabilities_are_those_declared": _OtherCapabilities,
    "connecting_changes_nothing": with_method("connect", _resets),
    "state_has_every_channel": with_method("state", _forgets),
    "setting_up_leaves_outputs_off": with_method("prepare", _switches_on),
    "setups_beyond_the_ranges_are_refused": with_method("prepare", _takes_anything),
    "an_output_needs_a_setup": with_method("output", _sets_up_by_itself),
    "an_output_goes_on_at_zero_volts": _OnAtALevel,
    "every_reading_is_answered_in_order": with_method("run", _loses_samples),
    "levels_beyond_the_setup_are_refused": with_method("run", _clips_levels),
    "limits_beyond_the_setup_are_refused": with_method("run", _clips_limits),
    "levels_stand_as_declared": _Misdeclared,
    "a_ramp_ends_at_its_level": with_method("run", _ramps_half_way),
    "an_output_that_went_off_is_told": with_method("run", _reads_all_the_same),
    "current_is_positive_out_of_the_source": with_method("run", _turns_currents_round),
    "a_limit_limits_and_is_reported": with_method("run", _reports_no_compliance),
    "off_is_off": with_method("off", _leaves_on),
    "off_may_be_called_twice": _OffOnce,
    "verification_sees_an_output_that_is_on": with_method("verify_off", _sees_nothing),
    "an_emergency_needs_no_connection": with_method("emergency_off", _emergency_on_paper),
    "closing_twice_is_harmless": _ClosesOnce,
}
