"""What every pulse source promises (`labctl.core.pulse_source.PulseSource`)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labctl.core.pulse_source import PulseCapabilities, PulseSetup, PulseSource
from labctl.core.units import Second, Volt
from labctl.testing.contract import Check, carry_out, refuses, require

Made = tuple[str, Volt, Second]
"""A pulse that an open end has seen: channel, V, s."""


@dataclass(frozen=True)
class PulseSourceUnderTest:
    """A pulse source under test, its outputs off and on resistors, or on nothing.

    Args:
        make: returns a new driver for the same instrument, not connected.
        declared: its capabilities, as its driver declares them.
        made: returns the pulses that there have been, in order; None if they cannot be seen.
    """

    make: Callable[[], PulseSource]
    declared: PulseCapabilities
    made: Callable[[], Sequence[Made]] | None = None

    @property
    def setup(self) -> PulseSetup:
        """A setup in the middle of what it can do."""
        (low, high), (shortest, longest) = self.declared.volts, self.declared.widths
        return PulseSetup(math.sqrt(low * high), math.sqrt(shortest * longest))

    @property
    def channel(self) -> str:
        """Its last channel."""
        return self.declared.channels[-1]

    def prepared(self) -> PulseSource:
        """Return a driver that is connected and has one channel set up."""
        source = self.make()
        source.connect()
        source.prepare({self.channel: self.setup})
        return source

    def rest(self) -> None:
        """Switch every output off."""
        source = self.make()
        source.connect()
        source.off()
        source.close()


def connecting_changes_nothing(subject: PulseSourceUnderTest) -> None:
    """Connecting reads, changes nothing and returns the identity, also twice."""
    first, second = subject.prepared(), subject.make()
    before, identity = first.state(), second.connect()
    require(isinstance(identity, str) and identity.strip(), f"the identity is {identity!r}")
    require(second.connect() == identity, "a second connect() tells another identity")
    require(first.state() == before, f"the state is {first.state()} after another connect(), and was {before}")


def its_capabilities_are_those_declared(subject: PulseSourceUnderTest) -> None:
    """A driver has the capabilities that its declaration has, and a state of every channel."""
    source = subject.make()
    require(source.capabilities == subject.declared, f"its capabilities are {source.capabilities}")
    source.connect()
    require(tuple(source.state()) == subject.declared.channels, f"it tells the state of {', '.join(source.state())}")


def set_up_it_waits_behind_its_limits(subject: PulseSourceUnderTest) -> None:
    """A channel that is set up is off, makes nothing by itself, and has the limits of its setup on both sides."""
    state, most = subject.prepared().state()[subject.channel], subject.setup.limit
    require(not state.output, "its output is on")
    require(state.waits, "it makes pulses by itself")
    limits = state.limits or (math.nan, math.nan)
    require(
        all(math.isclose(end, side * most, rel_tol=1e-3) for end, side in zip(limits, (-1, 1), strict=True)),
        f"its limits are {state.limited}; {most:.6g} V of both signs were set up",
    )


def a_pulse_is_one_and_as_asked_for(subject: PulseSourceUnderTest) -> None:
    """Each pulse of either sign is made once, with its level and width."""
    source, channel = subject.prepared(), subject.channel
    begun = len(subject.made()) if subject.made is not None else 0
    low, shortest = subject.declared.volts[0], subject.declared.widths[0]
    asked = [(2 * low, 4 * shortest), (-low, 3 * shortest), (subject.setup.limit, subject.setup.longest)]
    for volts, seconds in asked:
        source.fire(channel, volts, seconds)
    if subject.made is None:
        return
    made = list(subject.made())[begun:]
    same = len(made) == len(asked) and all(
        where == channel and math.isclose(v, volts, rel_tol=1e-3) and math.isclose(s, seconds, rel_tol=1e-3)
        for (where, v, s), (volts, seconds) in zip(made, asked, strict=True)
    )
    require(same, f"{asked} were asked for on {channel}, and {made} came out")


def the_output_is_off_behind_a_pulse(subject: PulseSourceUnderTest) -> None:
    """Behind a pulse its output is off."""
    source = subject.prepared()
    source.fire(subject.channel, subject.setup.limit, subject.declared.widths[0])
    require(not any(state.output for state in source.state().values()), f"its state is {source.state()}")


def what_is_beyond_the_setup_is_refused(subject: PulseSourceUnderTest) -> None:
    """A pulse beyond level or width of the setup, or of a channel without one, is refused, and none is made."""
    source, most = subject.prepared(), subject.setup
    begun = len(subject.made()) if subject.made is not None else 0
    (low, high), (shortest, longest) = subject.declared.volts, subject.declared.widths
    for volts, seconds in (
        (most.limit * 1.01, most.longest), (-most.limit * 1.01, most.longest), (low * 0.9, most.longest),
        (low, most.longest * 1.01), (low, shortest * 0.9),
    ):  # fmt: skip
        refuses(lambda v=volts, s=seconds: source.fire(subject.channel, v, s), f"a pulse of {volts} V, {seconds} s")  # type: ignore[misc]
    refuses(lambda: source.fire("no such channel", low, most.longest), "a channel that it does not have")
    refuses(lambda: source.prepare({subject.channel: PulseSetup(high * 1.1, longest)}), "a setup beyond its levels")
    if subject.made is not None:
        made = list(subject.made())[begun:]
        require(not made, f"{made} came out")


def off_may_be_called_at_any_time(subject: PulseSourceUnderTest) -> None:
    """Switching off is harmless at any time, verifies, and ends with every output off."""
    source = subject.make()
    source.connect()
    source.off()
    source.off(1000.0)
    source.verify_off()
    source.prepare({subject.channel: subject.setup})
    source.off()
    require(not any(state.output for state in source.state().values()), f"its state is {source.state()}")


PULSE_SOURCE_CHECKS: tuple[Check[PulseSourceUnderTest], ...] = (
    connecting_changes_nothing,
    its_capabilities_are_those_declared,
    set_up_it_waits_behind_its_limits,
    a_pulse_is_one_and_as_asked_for,
    the_output_is_off_behind_a_pulse,
    what_is_beyond_the_setup_is_refused,
    off_may_be_called_at_any_time,
)


def check_pulse_source(
    make: Callable[[], PulseSource],
    *,
    declared: PulseCapabilities,
    made: Callable[[], Sequence[Made]] | None = None,
) -> None:
    """Carry out the contract of a pulse source; ContractError names every check that it breaks.

    Pulses are made: no die may be connected. Arguments as of `PulseSourceUnderTest`.
    """
    subject = PulseSourceUnderTest(make, declared, made)
    carry_out("the pulse source", PULSE_SOURCE_CHECKS, lambda: subject, PulseSourceUnderTest.rest)
