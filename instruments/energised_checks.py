"""The checks of the first day that need an output: one channel at a time, at little, into an open end.

They go by the interface of a source and by nothing of any dialect. What an output may do is in `open_end`; each
channel is off, verified, before the next one goes on.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median, stdev

from instruments.assumptions import Assumption, How, ledger
from instruments.bench import Bench
from instruments.first_day import SLOWER, Answer, Finding, Verdict
from instruments.open_bench import OpenBench
from instruments.open_end import FEW, MANY, Driven, Excitation
from labctl.core.errors import InstrumentError, SwitchedOff
from labctl.core.operations import Flag
from labctl.core.source import Hold, Level, Measure, Sample, Watch
from labctl.core.units import Second

NOISE = 2e-6
"""rms noise of one reading at 1 NPLC that is assumed, as a part of the range."""
NOISE_FACTOR = 1.5
"""Factor by which a noise may differ: that of 50 readings is known to a tenth."""
READINGS = 50
"""Readings of whose scatter the noise is made."""
SWITCHINGS = 5
"""Times that an output goes on."""
AT_ONCE = 0.1
"""Part of the assumed time of an output below which the source does not wait for its relay."""
LATER = 10
"""Factor above `settling.source` after which all has settled."""
SETTLED = 1e-3
"""Change of a current, as a part of its range, that counts as settled."""


def plan_text(bench: Bench) -> str:
    """Return what the checks will do to a bench, in operator words."""
    channels = ", ".join(bench.connections.channels)
    return (
        f"{channels}: each goes on, some ten times and one channel at a time, at {Excitation.of(bench).text}, with "
        "every relay open and the needles up, and ends at 0 V and off"
    )


def _noise(driven: Driven) -> Answer:
    aperture = driven.aperture(1 / driven.bench.timing.line_frequency)
    cycles = aperture * driven.bench.timing.line_frequency
    settle = Hold(max(0.1, driven.bench.settling.source))
    measures = [Measure(driven.channel)] * READINGS
    samples = driven.run(driven.up, settle, *measures, aperture=aperture)
    assumed = NOISE / math.sqrt(cycles)
    expected = f"{assumed * 1e6:.3g} ppm of range at {cycles:.3g} NPLC"
    if refused := _not_usable(samples):
        return expected, refused, None
    rms = stdev(sample.current for sample in samples) / driven.range_i
    reply = f"{rms * 1e6:.3g} ppm of {driven.range_i:.3g} A"
    if rms == 0:
        return expected, f"{reply}: all {READINGS} readings are equal", None
    return expected, reply, assumed / NOISE_FACTOR <= rms <= assumed * NOISE_FACTOR


def _cold_current(driven: Driven) -> Answer:
    outputs = driven.bench.outputs
    settle, measure = Hold(driven.bench.settling.source), Measure(driven.channel, voltage=True)
    (sample,) = driven.run(settle, measure, aperture=driven.aperture(outputs.cold_aperture))
    expected = f"at most {outputs.cold_current:.3g} A"
    if refused := _not_usable([sample]):
        limit = driven.excitation.limit
        return expected, f"{refused}, behind {limit:.3g} A", False if outputs.cold_current <= limit else None
    return expected, f"{sample.current:.3g} A at {sample.voltage:.3g} V", abs(sample.current) <= outputs.cold_current


def _step_time(driven: Driven) -> Answer:
    """Time steps in one call; sending a script drops out, but for whole messages, by steps that take no time."""
    timing, channel = driven.bench.timing, driven.channel
    aperture = driven.aperture(0.0)
    messages = driven.source.capabilities.step_messages * timing.message
    sending = 0.0 if messages else driven.seconds_each([Watch(channel)], aperture)
    levels = [Level(channel, driven.excitation.volts), Level(channel, 0.0)]
    replies, holds, whole = [], True, 2 * timing.message / (MANY - FEW)
    for what, steps, own in (("level", levels, 0.0), ("reading", [Measure(channel)], aperture)):
        assumed = timing.of(steps[0], aperture) - own + messages
        seconds = driven.seconds_each(steps, aperture) - own - sending
        replies.append((f"{what} {assumed:.3g} s", f"{what} {seconds:.3g} s"))
        holds = holds and seconds <= SLOWER * assumed + whole
    expected, measured = (", ".join(texts) for texts in zip(*replies, strict=True))
    return f"{expected}, beside the aperture", measured, holds


def _output_relay(driven: Driven) -> Answer:
    """Compare switching on an output that is off with one that is on: the difference is that of the relay."""
    assumed, times = driven.bench.timing.output_relay, []
    for _ in range(SWITCHINGS):
        driven.off()
        driven.set_up()
        times.append(driven.on() - driven.on())
    seconds = median(times)
    expected = f"output_relay {assumed:.3g} s"
    if abs(seconds) < AT_ONCE * assumed:
        return expected, f"{seconds:.3g} s: it answers before the relay has moved, or that is not seen", None
    return expected, f"{seconds:.3g} s", seconds <= SLOWER * assumed


def _source_settling(driven: Driven) -> Answer:
    """Compare a current after the wait with one that waited longer; without a die there are the cables alone."""
    wait, channel = driven.bench.settling.source, driven.channel
    edge, measure = Level(channel, driven.excitation.volts), Measure(channel)
    aperture = driven.aperture(driven.bench.outputs.cold_aperture)
    samples = driven.run(edge, Hold(wait), measure, Hold(LATER * wait), measure, aperture=aperture)
    expected = f"{wait:.3g} s, as after {LATER * wait:.3g} s"
    if refused := _not_usable(samples):
        return expected, f"{refused}, behind {driven.excitation.limit:.3g} A", False
    change = abs(samples[0].current - samples[1].current)
    reply = f"{samples[0].current:.3g} A, then {samples[1].current:.3g} A"
    if change > SETTLED * driven.range_i:
        return expected, reply, False
    return expected, f"{reply}: settled with the cables, which says nothing of a die", None


def _not_usable(samples: Sequence[Sample]) -> str:
    """Return what is wrong with currents of an open output, in operator words; "" if nothing is."""
    if any(sample.flag & Flag.COMPLIANCE for sample in samples):
        return "at its current limit: the output is not open"
    if any(sample.flag & Flag.OVERRANGE or not math.isfinite(sample.current) for sample in samples):
        return "beyond its range: the output is not open"
    return ""


ENERGISED_CHECKS: Mapping[str, Callable[[Driven], Answer]] = {
    "noise": _noise,
    "generic-noise": _noise,
    "cold-current": _cold_current,
    "step-time-of-a-source": _step_time,
    "output-relay": _output_relay,
    "source-settling": _source_settling,
}
"""The check of each assumption that an output on an open end settles, by its id."""


def energised(
    opened: OpenBench, *, clock: Callable[[], Second], stop: Callable[[], None] = lambda: None
) -> list[Finding]:
    """Return a finding for each channel and each assumption of the ledger that an output on an open end settles.

    The bench has passed `require_open_ends`. It ends as `OpenBench` is left: at 0 V and off, verified.

    Args:
        clock: of the instruments, s; on a twin that of the twin.
        stop: raises when the operator wants to end; called before each call of a source.

    Raises:
        ContactError: the needles are not known to be up, as `require_open_ends` has to tell before.
        LimitError: a level beyond what is announced; nothing was sent.
        InstrumentError: a source is not verified off.
        SwitchedOff: the latch of the bench is set.
    """
    bench, state = opened.bench, opened.die.state

    def permit() -> None:
        opened.permit()
        stop()

    rows = [row for row in ledger().assumptions if row.how is How.ENERGISED]
    by_source = _channels(bench)
    findings: list[Finding] = []
    with state.exercise():
        for name, source in opened.sources.items():
            driver = bench.instruments[name].driver
            concerned = [row for row in rows if not row.drivers or driver in row.drivers]
            for channel in by_source.get(name, ()):
                driven = Driven(bench, source, channel, Excitation.of(bench), clock, permit)
                findings += [_checked(row, name, driven) for row in concerned]
                driven.set_up(bench.outputs.off_state)
    return findings


def _channels(bench: Bench) -> dict[str, list[str]]:
    """Return the channels of the wiring by their source."""
    channels: dict[str, list[str]] = {}
    for text in bench.connections.channels:
        name, _, channel = text.partition(".")
        channels.setdefault(name, []).append(channel)
    return channels


def _checked(row: Assumption, name: str, driven: Driven) -> Finding:
    """Return the finding of a check on a channel that is switched on for it, and verified off whatever happens."""
    where = f"{name}.{driven.channel}"
    try:
        driven.set_up()
        driven.on()
        expected, reply, holds = ENERGISED_CHECKS[row.id](driven)
    except SwitchedOff:
        raise
    except InstrumentError as error:
        expected, reply, holds = row.statement, str(error), None
    finally:
        driven.off()
    verdict = {True: Verdict.HOLDS, False: Verdict.FAILS, None: Verdict.OPEN}[holds]
    return Finding(row.id, row.statement, where, verdict, expected, reply, row.step, "")
