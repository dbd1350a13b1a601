"""What every source-measure unit promises (`labctl.core.source.SourceMeasure`)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from labctl.core.errors import LabError
from labctl.core.operations import Flag
from labctl.core.source import (
    ChannelSetup,
    EmergencyOff,
    Hold,
    Level,
    Limit,
    Measure,
    Ramp,
    SourceCapabilities,
    SourceMeasure,
    Step,
    Watch,
)
from labctl.core.units import Ampere, Ohm, Volt
from labctl.testing.contract import Check, carry_out, refuses, require

HIGHEST: Volt = 0.05
"""Highest level that the checks force, V."""
LARGEST: Ampere = 10e-3
"""Largest current limit that the checks set, A, if the source has a range below it."""
COLD: Ampere = 1e-6
"""Least current limit at 0 V that the checks set, A."""
TOLERANCE = 0.05


@dataclass(frozen=True)
class SourceUnderTest:
    """A source under test.

    Args:
        make: returns a new driver for the same instrument, not connected; the instrument is at rest.
        declared: its capabilities as its declaration gives them, None if it has none.
        resistance: from each channel to the common LO, ohm; None if nothing is connected.
    """

    make: Callable[[], SourceMeasure]
    declared: SourceCapabilities | None = None
    resistance: Ohm | None = None

    def connected(self) -> SourceMeasure:
        """Return a driver that is connected."""
        driver = self.make()
        driver.connect()
        return driver

    def ready(self) -> tuple[SourceMeasure, str, ChannelSetup]:
        """Return a driver with its first channel on at 0 V, that channel and its setup."""
        driver = self.connected()
        channel, setup = driver.capabilities.channels[0], setup_of(driver.capabilities)
        driver.prepare({channel: setup})
        driver.output([channel])
        return driver, channel, setup

    def rest(self) -> None:
        """Leave the instrument at rest."""
        driver = self.make()
        driver.connect()
        driver.off()
        driver.close()


def setup_of(capabilities: SourceCapabilities) -> ChannelSetup:
    """Return a setup with harmless levels, by the ranges of a source."""
    limit = max((full for full in capabilities.ranges_i if full <= LARGEST), default=capabilities.ranges_i[0])
    cold = min((full for full in capabilities.ranges_i if full >= COLD), default=limit)
    return ChannelSetup(capabilities.ranges_v[0], limit, limit, off_limit=cold, cold_limit=min(cold, limit))


def level_of(setup: ChannelSetup) -> Volt:
    """Return the level that is forced, V."""
    return min(HIGHEST, setup.range_v / 2)


def capabilities_are_known_without_a_connection(subject: SourceUnderTest) -> None:
    """Capabilities are known before the source is connected, ranges ascending."""
    known = subject.make().capabilities
    require(known.channels and len(set(known.channels)) == len(known.channels), f"channels are {known.channels}")
    for ranges in (known.ranges_v, known.ranges_i):
        rising = bool(ranges) and list(ranges) == sorted(set(ranges)) and ranges[0] > 0
        require(rising, f"ranges are {ranges}; expected ascending, above 0")
    require(0 < known.apertures[0] <= known.apertures[1], f"apertures are {known.apertures}")
    require(known.shortest_pulse > 0, f"the shortest pulse is {known.shortest_pulse} s")


def capabilities_are_those_declared(subject: SourceUnderTest) -> None:
    """Before it is connected, a source has the capabilities that its declaration gives, by which it is planned with."""
    if subject.declared is not None:
        known = subject.make().capabilities
        require(known == subject.declared, f"it has {known}, and declares {subject.declared}")


def connecting_changes_nothing(subject: SourceUnderTest) -> None:
    """Connecting reads, and leaves on what is on; it returns the identity, also twice."""
    first, channel, _ = subject.ready()
    second = subject.make()
    identity = second.connect()
    require(isinstance(identity, str) and identity.strip(), f"the identity is {identity!r}")
    require(second.connect() == identity, "a second connect() tells another identity")
    require(second.state()[channel].output, f"{channel} was on, and is off after another driver has connected")
    first.off()


def state_has_every_channel(subject: SourceUnderTest) -> None:
    """At rest every channel is reported, off at 0 V."""
    driver = subject.connected()
    state = driver.state()
    require(set(state) == set(driver.capabilities.channels), f"it reports {sorted(state)}")
    for name, channel in state.items():
        require(not channel.output and channel.level == 0, f"{name} is {channel}")


def setting_up_leaves_outputs_off(subject: SourceUnderTest) -> None:
    """Setting up leaves outputs off at 0 V, behind at most the limit of the setup."""
    driver = subject.connected()
    channel, setup = driver.capabilities.channels[0], setup_of(driver.capabilities)
    driver.prepare({channel: setup})
    state = driver.state()[channel]
    require(not state.output and state.level == 0, f"{channel} is {state} after prepare()")
    require(state.limit <= setup.limit * (1 + TOLERANCE), f"its limit is {state.limit} A; {setup.limit} A was set up")


def setups_beyond_the_ranges_are_refused(subject: SourceUnderTest) -> None:
    """A setup beyond the ranges is refused, and no output goes on by it."""
    driver = subject.connected()
    known = driver.capabilities
    channel, good = known.channels[0], setup_of(known)
    high = ChannelSetup(10 * known.ranges_v[-1], good.limit, good.range_i, cold_limit=good.cold_limit)
    wide = ChannelSetup(good.range_v, good.limit, 1e3 * known.ranges_i[-1], cold_limit=good.cold_limit)
    refuses(lambda: driver.prepare({channel: high}), f"a range of {high.range_v} V")
    refuses(lambda: driver.prepare({channel: wide}), f"a measure range of {wide.range_i} A")
    require(not any(c.output for c in driver.state().values()), "an output is on")


def an_output_needs_a_setup(subject: SourceUnderTest) -> None:
    """A channel that was not set up does not go on."""
    driver = subject.connected()
    channel = driver.capabilities.channels[-1]
    refuses(lambda: driver.output([channel]), f"switching {channel} on without a setup")
    require(not driver.state()[channel].output, f"{channel} is on")


def an_output_goes_on_at_zero_volts(subject: SourceUnderTest) -> None:
    """An output goes on at 0 V behind its cold limit, and no other one with it."""
    driver, channel, setup = subject.ready()
    state = driver.state()
    require(state[channel].output, f"{channel} is off after output()")
    require(state[channel].level == 0, f"{channel} went on at {state[channel].level} V")
    require(state[channel].limit <= setup.cold_limit * (1 + TOLERANCE), f"its limit is {state[channel].limit} A")
    others = [name for name, other in state.items() if other.output and name != channel]
    require(not others, f"{', '.join(others)} went on too")


def every_reading_is_answered_in_order(subject: SourceUnderTest) -> None:
    """A sequence of steps returns one sample per `Watch` and `Measure`, in their order; without steps, none."""
    driver, channel, _ = subject.ready()
    samples = driver.run([Watch(channel), Hold(1e-4), Measure(channel, voltage=True), Measure(channel)])
    require(len(samples) == 3, f"3 readings were asked for, {len(samples)} came")
    require([s.channel for s in samples] == [channel] * 3, f"samples are of {[s.channel for s in samples]}")
    require(math.isnan(samples[0].current), "a Watch measures no current")
    require(math.isfinite(samples[1].voltage) and math.isfinite(samples[1].current), f"the sample is {samples[1]}")
    require(math.isnan(samples[2].voltage), "a Measure without voltage has one")
    require(driver.run([]) == [], "no steps have samples")


def levels_beyond_the_setup_are_refused(subject: SourceUnderTest) -> None:
    """A level beyond the setup is refused, never clipped, and nothing of it is at the output afterwards."""
    driver, channel, _ = subject.ready()
    beyond = 1.5 * driver.capabilities.ranges_v[0]
    refuses(lambda: driver.run([Level(channel, beyond)]), f"a level of {beyond} V")
    level = driver.state()[channel].level
    require(level == 0, f"{channel} is at {level} V after a level was refused")


def limits_beyond_the_setup_are_refused(subject: SourceUnderTest) -> None:
    """A current limit beyond the setup is refused, never clipped."""
    driver, channel, setup = subject.ready()
    refuses(lambda: driver.run([Limit(channel, 2 * setup.limit, setup.range_i)]), f"a limit of {2 * setup.limit} A")
    limit = driver.state()[channel].limit
    require(limit <= setup.limit * (1 + TOLERANCE), f"its limit is {limit} A")


def levels_stand_as_declared(subject: SourceUnderTest) -> None:
    """After a sequence of steps levels stand, or all is at 0 V behind the cold limit, as the capabilities say."""
    driver, channel, setup = subject.ready()
    volts = level_of(setup)
    driver.run([Limit(channel, setup.limit, setup.range_i), Level(channel, volts)])
    state = driver.state()[channel]
    expected = volts if driver.capabilities.stands else 0.0
    require(math.isclose(state.level, expected, abs_tol=TOLERANCE * volts), f"it is at {state.level} V, not {expected}")
    if not driver.capabilities.stands:
        require(state.limit <= setup.cold_limit * (1 + TOLERANCE), f"its limit is {state.limit} A")


def a_ramp_ends_at_its_level(subject: SourceUnderTest) -> None:
    """A ramp ends at its level, which is measured there."""
    driver, channel, setup = subject.ready()
    volts = level_of(setup)
    open_limit = Limit(channel, setup.limit, setup.range_i)
    (sample,) = driver.run([open_limit, Ramp(channel, volts, 100 * volts), Measure(channel, voltage=True)])
    require(math.isclose(sample.voltage, volts, rel_tol=TOLERANCE), f"it measures {sample.voltage} V, not {volts} V")


def current_is_positive_out_of_the_source(subject: SourceUnderTest) -> None:
    """The current is positive out of the source, and that of the resistor."""
    if subject.resistance is None:
        return
    driver, channel, setup = subject.ready()
    volts = level_of(setup)
    open_limit = Limit(channel, setup.limit, setup.range_i)
    (sample,) = driver.run([open_limit, Level(channel, volts), Measure(channel)])
    expected = volts / subject.resistance
    require(math.isclose(sample.current, expected, rel_tol=TOLERANCE), f"{sample.current} A flow, not {expected} A")
    require(not sample.flag & Flag.COMPLIANCE, "it reports compliance, and is not at its limit")


def a_limit_limits_and_is_reported(subject: SourceUnderTest) -> None:
    """A current limit below what the resistor would take limits the current, and is reported as compliance."""
    if subject.resistance is None:
        return
    driver, channel, setup = subject.ready()
    volts = level_of(setup)
    limit = volts / subject.resistance / 4
    full = min((r for r in driver.capabilities.ranges_i if r >= limit), default=setup.range_i)
    samples = driver.run([Limit(channel, limit, full), Level(channel, volts), Watch(channel), Measure(channel)])
    reported = all(sample.flag & Flag.COMPLIANCE for sample in samples)
    require(reported, f"the flags are {[sample.flag for sample in samples]}; it is at its limit")
    current = samples[1].current
    require(math.isnan(current) or abs(current) <= limit * (1 + TOLERANCE), f"{current} A flow beyond {limit} A")


def an_output_that_went_off_is_told(subject: SourceUnderTest) -> None:
    """Steps of a channel whose output went off behind its driver's back raise, and give no sample."""
    driver, channel, setup = subject.ready()
    driver.run([Limit(channel, setup.limit, setup.range_i), Level(channel, level_of(setup)), Watch(channel)])
    other = subject.connected()
    other.off()
    steps: list[Step] = [Level(channel, level_of(setup)), Measure(channel)]
    refuses(lambda: driver.run(steps), f"a reading of {channel}, whose output is off,")


def off_is_off(subject: SourceUnderTest) -> None:
    """Switched off, ramped or not, every output is off at 0 V, and that is verified."""
    for rate in (None, 10.0):
        driver, channel, setup = subject.ready()
        driver.run([Limit(channel, setup.limit, setup.range_i), Level(channel, level_of(setup))])
        driver.off(rate)
        state = driver.state()[channel]
        require(not state.output and state.level == 0, f"{channel} is {state} after off({rate})")
        driver.verify_off()


def off_may_be_called_twice(subject: SourceUnderTest) -> None:
    """Switching off twice is harmless, also a source that was never set up."""
    driver = subject.connected()
    driver.off()
    driver.off()
    driver.verify_off()


def verification_sees_an_output_that_is_on(subject: SourceUnderTest) -> None:
    """Verification of off raises while an output is on."""
    driver, channel, _ = subject.ready()
    refuses(driver.verify_off, f"verify_off() with {channel} on")


def an_emergency_needs_no_connection(subject: SourceUnderTest) -> None:
    """If it has `emergency_off`, that switches off from a new driver; if it tells what was on, all of that."""
    if not isinstance(subject.make(), EmergencyOff):
        return
    first, channel, setup = subject.ready()
    first.run([Limit(channel, setup.limit, setup.range_i), Level(channel, level_of(setup))])
    urgent = subject.make()
    require(isinstance(urgent, EmergencyOff), "it has no emergency_off()")
    before = urgent.emergency_off() if isinstance(urgent, EmergencyOff) else {}
    require(not before or before[channel].output, f"{channel} was on, and {dict(before)} is told")
    state = subject.connected().state()[channel]
    require(not state.output and state.level == 0, f"{channel} is {state} after emergency_off()")


def closing_twice_is_harmless(subject: SourceUnderTest) -> None:
    """Closing ends the conversation, and is harmless twice."""
    driver = subject.connected()
    driver.close()
    driver.close()


SOURCE_CHECKS: tuple[Check[SourceUnderTest], ...] = (
    capabilities_are_known_without_a_connection,
    capabilities_are_those_declared,
    connecting_changes_nothing,
    state_has_every_channel,
    setting_up_leaves_outputs_off,
    setups_beyond_the_ranges_are_refused,
    an_output_needs_a_setup,
    an_output_goes_on_at_zero_volts,
    every_reading_is_answered_in_order,
    levels_beyond_the_setup_are_refused,
    limits_beyond_the_setup_are_refused,
    levels_stand_as_declared,
    a_ramp_ends_at_its_level,
    current_is_positive_out_of_the_source,
    a_limit_limits_and_is_reported,
    an_output_that_went_off_is_told,
    off_is_off,
    off_may_be_called_twice,
    verification_sees_an_output_that_is_on,
    an_emergency_needs_no_connection,
    closing_twice_is_harmless,
)


def check_source(
    make: Callable[[], SourceMeasure],
    *,
    declared: SourceCapabilities | None = None,
    resistance: Ohm | None = None,
) -> None:
    """Carry out the contract of a source; ContractError names every check that it breaks.

    The checks force at most 50 mV. Connect a resistor from each channel to LO, or nothing; never a die.

    Args:
        make: returns a new driver for the same instrument, not connected; the instrument is at rest.
        declared: capabilities as the declaration gives them.
        resistance: of the resistors, ohm; without it, readings are not compared.
    """
    subject = SourceUnderTest(make, declared, resistance)
    carry_out("the source", SOURCE_CHECKS, lambda: subject, at_rest)


def at_rest(subject: SourceUnderTest) -> None:
    """Leave the instrument of a subject at rest, as far as its driver can."""
    try:
        subject.rest()
    except LabError:
        return
