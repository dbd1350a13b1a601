"""Switching of a bench for a probed die: outputs on and off, relays, and the check that all is cold before they move.

What is known of the bench, and what may follow, is `instruments.bench_state`: it is asked before anything is sent, and
told what was read back. Everything unexpected is a fault; only `idle` ends a fault. A bench without a matrix has no
relay to open: its pads are separated from its sources by nothing but outputs that are off. One module,
because each method is one transition of this one state.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from instruments.assignment import Reach
from instruments.bench import Bench
from instruments.bench_state import BenchState
from instruments.connections import Relay
from instruments.emergency import BY_HAND, emergency_open, persist, silence
from instruments.joined import Joined
from instruments.reach import reach_of
from instruments.relays import Relays
from instruments.short_pulses import ShortPulses
from instruments.step_sequence import COLD, FIRED, ChannelStep, Composer, SourceChannel, Tag, calls
from instruments.transport import CHECK
from instruments.visit_scripts import flagged_without_number
from labctl.core.errors import BenchError, InstrumentError, LabError
from labctl.core.prober import Prober
from labctl.core.pulse_source import Fire, PulseSetup, PulseSource
from labctl.core.source import Aperture, ChannelSetup, Level, Measure, Ramp, Sample, SourceMeasure, Step, Watch
from labctl.core.switch_matrix import Matrix
from labctl.core.units import Ampere, FloatArray, Second, Volt

COLD_TRIES = 3
"""Readings at 0 V before the sources count as hot."""


class BenchIO:
    """Sources, matrices and prober of a bench, moved in safe order only.

    Args:
        bench: limits, waits and wiring.
        sources, matrices, prober, pulse_sources: as in `ProbedDie`; the permits of matrices and prober are set here.
        wait: waits for a time, s.
        state: of the bench, which outlives this object; None makes one.
        permit: raises when nothing may be energised; called before every operation.

    Visits to a kernel use the channels of its `reaches`; `active` are those of all kernels, and of all wired pads, of
    the instruments `working`.
    """

    def __init__(
        self,
        bench: Bench,
        sources: dict[str, SourceMeasure],
        matrices: Mapping[str, Matrix],
        prober: Prober | None,
        wait: Callable[[Second], None],
        permit: Callable[[], None] = lambda: None,
        state: BenchState | None = None,
        pulse_sources: Mapping[str, PulseSource] = MappingProxyType({}),
    ) -> None:
        self.bench, self.prober, self._wait = bench, prober, wait
        self.pulse_sources = dict(pulse_sources)
        self.state = state or BenchState(bench.landing, bench.contact.voltage, permit)
        self.relays = Relays(matrices, self.state.require_still)
        connections = self._connections = bench.connections
        names = self._names = list(sources)
        self._patience = {name: entry.patience for name, entry in bench.instruments.items()}
        wired_channels = [channel.partition(".") for channel in connections.channels]
        missing = sorted({name for name, _, _ in wired_channels} - set(names))
        if missing:
            raise BenchError(f"the wiring uses {', '.join(missing)}, which is not among the sources")
        self.units = list(sources.values())
        costs = [unit.capabilities.step_messages for unit in self.units]
        lines = self.lines = bench.pulse_lines
        absent = sorted({line.instrument for line in lines.values()} - set(self.pulse_sources))
        if absent:
            raise BenchError(f"the wiring uses {', '.join(absent)}, which is not among the pulse sources")
        pulses = [lines[k].capabilities.messages if k in lines else 0.0 for k in range(len(wired_channels))]
        self.channels = [
            SourceChannel(at := names.index(name), part, costs[at], pulses[k])
            for k, (name, _, part) in enumerate(wired_channels)
        ]
        self._joined = Joined.of(bench, self.units, self.channels) if bench.joined else None
        if self._joined is not None:
            self.channels = self._joined.channels
        wired = sorted({channel.unit for channel in self.channels})
        self.stands = all(self.units[unit].capabilities.stands for unit in wired)
        self.active: tuple[int, ...] = tuple(range(len(self.channels)))
        self.reaches = tuple(
            self.reach(kernel.lines, (len(kernel.rows), len(kernel.cols))) for kernel in bench.wiring.kernels
        )
        straight = set(connections.wired.values()) - {connections.ground}
        self.active = tuple(sorted({c for reach in self.reaches for c in reach.channels} | straight))
        self.working = [self.units[unit] for unit in sorted({self.channels[c].unit for c in self.active})]
        self.composer = self.new_composer()
        self.short = ShortPulses(bench.wiring, connections, lines, self.stands, bench.limits.most_pulsed)
        self._pulse_setups = self._set_up_pulses()
        self.ranges = self._common_ranges()
        self._refuse_limits_beyond_the_sources()
        if prober is not None:
            prober.permit = self._permit_motion

    def idle(self) -> None:
        """Be safe: 0 V (ramped), relays open, outputs off, each read back. May be called at any time, twice.

        After a fault, or if the orderly sequence fails, the sources are switched off at once and without a ramp
        (`instruments.emergency`). Relays open when every source is verified off; otherwise they stay.

        Raises:
            InstrumentError: something is not verified safe; until `idle` succeeds the die refuses everything else.
        """
        state, orderly = self.state, self.state.orderly
        notes = self._ramp_down() if state.in_use else []
        if orderly and not notes:
            try:
                self._separate()
            except BaseException as error:  # a third-party driver may raise anything
                notes.append(str(error) or type(error).__name__)
        state.fail("the bench was not made safe")
        sources: dict[str, SourceMeasure | PulseSource] = dict(zip(self._names, self.units, strict=True))
        sources |= self.pulse_sources
        if orderly and not notes:
            for name, unit in list(sources.items()):
                if not self._off(name, unit, notes):
                    break  # nobody waits for it while others are on: they go off at once beside it
                del sources[name]
        failed, _ = silence(sources, self._patience, self._wait)
        stay = "; relays stay as they are" if failed else ""
        if not failed:
            state.outputs_off()
            failed = self._open_relays(urgent=not orderly)
        if failed:
            state.fail("; ".join(failed.values()))
            reasons = "; ".join([*failed.values(), *notes])
            raise InstrumentError(f"the bench is NOT verified safe: {reasons}{stay}; {BY_HAND}")
        state.relays_open()

    def _ramp_down(self) -> list[str]:
        """Set outputs to 0 V and open relays, outputs still on; return the errors."""
        try:
            self.go_cold(range(len(self.channels)))
            with self.state.route(()):
                self.relays.route(())
        except BaseException as error:  # a third-party driver may raise anything
            return [str(error) or type(error).__name__]
        return []

    def _off(self, name: str, unit: SourceMeasure | PulseSource, notes: list[str]) -> bool:
        """Ramp one source down, switch it off and verify; return whether it is off. Errors are appended to `notes`."""
        try:
            unit.off(self.bench.limits.ramp_rate)
        except BaseException as error:  # a third-party driver may raise anything
            notes.append(f"{name}: {error}")
            return False
        return True

    def _open_relays(self, *, urgent: bool) -> dict[str, str]:
        """Open every relay and verify; return the errors by the matrix's name.

        Args:
            urgent: a matrix may be busy: its command is aborted first, as before every new try.
        """
        failed: dict[str, str] = {}
        for name, matrix in self.relays.matrices.items():
            tries = itertools.count(int(urgent))

            def act(name: str = name, matrix: Matrix = matrix, tries: Iterator[int] = tries) -> None:
                if next(tries):
                    emergency_open(name, matrix)
                matrix.route(())
                closed = matrix.closed()
                if closed:
                    raise InstrumentError(f"{name}: {len(closed)} relays are still closed")

            try:
                persist(act, self._patience.get(name, 0.0), self._wait)
            except BaseException as error:  # a third-party driver may raise anything
                failed[name] = str(error) or type(error).__name__
        return failed

    def verify_off(self) -> None:
        """Read back that every output is off and no relay is closed; InstrumentError if not. Changes nothing."""
        self._read_back()
        closed = self.relays.closed()
        if closed:
            names = ", ".join(sorted({matrix for matrix, _ in closed}))
            words = f"{names}: {len(closed)} relays are closed; nothing moves before they open"
            raise InstrumentError(f"{words}; {CHECK}")

    def _permit_motion(self) -> None:
        """Permit of the prober: raise unless needles may touch and lift, by what is read back now."""
        if not self.state.in_use:
            self.state.require_sound()
            self._read_back()
        self.state.needles_move()

    def land(self) -> None:
        """Make the bench ready for needles to touch or lift: outputs verified off, pads on ground if chosen.

        No relay moves if this is the present state.

        Raises:
            InstrumentError: an output is not verified off, or a pad not on ground; nothing may move.
        """
        if self.state.orderly and not self.state.in_use:
            with contextlib.suppress(LabError):
                self._read_back()
                return self.state.require_landing()
        self.idle()
        if landing := self.bench.landing:
            with self.state.route(landing):
                self.relays.route(landing, frozenset())
                self._wait(self.bench.settling.relays)

    def _read_back(self) -> None:
        """Read that every output is off, and which relays are closed; InstrumentError if an output is not."""
        try:
            self._separate()
            for unit in self.units:
                unit.verify_off()
            for pulse_source in self.pulse_sources.values():
                pulse_source.verify_off()
            closed = self.relays.closed()
        except BaseException:
            self.state.doubt()
            raise
        self.state.verified_off(closed)

    def _separate(self) -> None:
        """Have joined sources take commands of their own again."""
        if self._joined is not None:
            self._joined.separate()

    def silence_joined(self) -> None:
        """Switch off sources of which one drove the others in a script that broke off; nothing where none does."""
        if self._joined is not None:
            self._joined.silence()

    def carry_out(self, events: Iterable[ChannelStep]) -> list[tuple[Tag, Sample]]:
        """Run events as one call of each instrument in turn; return the samples with their tags."""
        samples: list[tuple[Tag, Sample]] = []
        before = self.composer.state.copy()
        try:
            scripts = list(calls(self.composer.script(events), self.channels))
            volts = _spread(event.step for _, script in scripts for event in script)
            self.state.require_drive(volts)
        except BaseException:
            self.composer.state = before
            raise
        with self.state.drive(volts):
            for unit, script in scripts:
                if unit == FIRED:
                    self._fire(script)
                    continue
                steps = [event.step for event in script if not isinstance(event.step, Fire)]
                try:
                    readings = self.units[unit].run(steps)
                except BaseException:
                    self.silence_joined()
                    raise
                asked = [event for event in script if isinstance(event.step, Measure | Watch)]
                samples += [
                    (event.tag, flagged_without_number(event.step, sample))
                    for event, sample in zip(asked, readings, strict=True)
                    if event.tag is not None
                ]
        return samples

    def _fire(self, script: Iterable[ChannelStep]) -> None:
        """Have pulse sources make pulses, one after the other."""
        for event in script:
            line = self.lines[event.channel]
            assert isinstance(event.step, Fire)
            self.pulse_sources[line.instrument].fire(line.channel, event.step.volts, event.step.seconds)

    def _set_up_pulses(self) -> dict[str, dict[str, PulseSetup]]:
        """Return how each pulse source is set up; BenchError if it makes no pulse within the limits of the bench."""
        setups: dict[str, dict[str, PulseSetup]] = {}
        for line in self.lines.values():
            low, high = line.capabilities.volts
            span = self.bench.limits.span
            if span < low:
                raise BenchError(
                    f"the limits of the bench allow {span:.3g} V, and {line.tee.pulses} makes no pulse below "
                    f"{low:.3g} V"
                )
            setup = PulseSetup(min(span, high), line.widths[1])
            setups.setdefault(line.instrument, {})[line.channel] = setup
        return setups

    def go_cold(self, used: Iterable[int]) -> None:
        """Set those of the channels `used` that are on to 0 V behind the low limit; verify by reading V and A."""
        wanted, hot = tuple(c for c in used if c in self.active), ""
        for repeat in range(COLD_TRIES):
            if repeat:
                self._wait(self.bench.settling.source)
            hot = self.hot(self.carry_out(self.composer.cold(wanted)))
            if not hot:
                return self.state.at_zero()
        self.state.fail(hot)
        raise InstrumentError(f"{hot}; no relay moves")

    def end_cold(self, samples: Iterable[tuple[Tag, Sample]], used: Iterable[int]) -> None:
        """Verify 0 V by the samples of steps that ended there, or else by new readings."""
        if self.hot(samples):
            self.go_cold(used)
        else:
            self.state.at_zero()

    def hot(self, samples: Iterable[tuple[Tag, Sample]]) -> str:
        """Return the first reading at 0 V that forbids moving a relay, in words; empty if none."""
        outputs = self.bench.outputs
        for tag, sample in samples:
            cold = abs(sample.voltage) <= outputs.cold_voltage and abs(sample.current) <= outputs.cold_current
            if tag.kind == COLD and not cold:
                name = self._connections.name(tag.visit)
                return f"{name} reads {sample.voltage:.3g} V and {sample.current:.3g} A where 0 was set"
        return ""

    def route(self, closed: Iterable[Relay]) -> None:
        """Close exactly these relays and let them settle; no line floats meanwhile if the bench file says so."""
        wanted, present = frozenset(closed), self.state.closed
        if wanted == present:
            return
        with self.state.route(wanted):
            for relays in self.route_steps(self.relays.closed() if present is None else present, wanted):
                self.relays.route(relays, present)
                present = relays
                self._wait(self.bench.settling.relays)

    def route_steps(self, present: frozenset[Relay], wanted: frozenset[Relay]) -> list[frozenset[Relay]]:
        """Return the sets of closed relays that lead from one route to the next.

        With lines grounded between routes, every line of either is connected to ground, then to its new source, then
        disconnected from ground; all sources are at 0 V meanwhile, or the permit of the matrix refuses.
        """
        grounding = self._connections.grounding
        if self.bench.outputs.between_routes == "open" or not grounding:
            return [wanted]
        lines = frozenset(grounding[relay] for relay in present | wanted if relay in grounding)
        return [present | lines, wanted | lines, wanted]

    def switch_on(self) -> None:
        """Switch the outputs that visits use on at 0 V, needles not up; if they are on, only the latch is read.

        No channel is on a pad before: relays are open, or every pad is on ground as it was when the needles touched.

        Raises:
            SwitchedOff: the permit refuses; `idle` switches off the outputs that were on.
            ContactError: the needles are not in contact.
        """
        state = self.state
        state.require_sound()
        state.require_permit()
        if state.in_use:
            return
        if self.prober is not None:
            state.needles(down=self.prober.in_contact())
            state.require_needles(self.prober.name)
        self._read_back()
        limits, outputs = self.bench.limits, self.bench.outputs
        setup = ChannelSetup(
            limits.span,
            limits.compliance,
            limits.compliance,
            outputs.off_state,
            outputs.off_limit,
            cold_limit=outputs.relay_limit,
        )
        by_unit: dict[int, list[str]] = {}
        for channel in (self.channels[c] for c in self.active):
            by_unit.setdefault(channel.unit, []).append(channel.part)
        with state.switch_on():
            for name, setups in self._pulse_setups.items():
                self.pulse_sources[name].prepare(setups)
            for unit, names in by_unit.items():
                self.units[unit].prepare(dict.fromkeys(names, setup))
                state.require_permit()
                self.units[unit].output(names)
                self.units[unit].run([Aperture(name, outputs.cold_aperture) for name in names])
            if self._joined is not None:
                self._joined.join(self.active, setup, outputs.cold_aperture)
            self.composer = self.new_composer()
        self.go_cold(self.active)
        state.require_permit()  # refused between the last check and the output: it ends at 0 V

    def new_composer(self) -> Composer:
        """Return a composer of steps for sources that have just been switched on."""
        return Composer(self.bench, self.channels, self.stands)

    def reach(self, pads: Sequence[str], shape: tuple[int, int]) -> Reach:
        """Return the sources that `pads` can be connected to in one visit; BenchError if none can act on all of them.

        Args:
            pads: of rows, columns and gates.
            shape: number of rows and of columns.
        """
        owner = [channel.instrument for channel in self.channels]
        return reach_of(pads, shape, self._connections, owner, self.active, self.stands)

    def _common_ranges(self) -> FloatArray:
        """Return the current ranges that every source has, A, ascending, up to the one that holds the compliance."""
        common = set.intersection(*(set(unit.capabilities.ranges_i) for unit in self.working))
        ranges = sorted(common)
        top = next((k for k, r in enumerate(ranges) if r >= self.bench.limits.compliance * (1 - 1e-9)), None)
        if top is None:
            raise BenchError(f"no current range of the sources holds {self.bench.limits.compliance:.3g} A")
        return np.array(ranges[: top + 1])

    def _refuse_limits_beyond_the_sources(self) -> None:
        """Raise BenchError if the bench file allows levels that a source cannot force: their range is set up."""
        span = self.bench.limits.span
        for unit in self.working:
            highest = unit.capabilities.ranges_v[-1]
            if span > highest * (1 + 1e-9):
                raise BenchError(
                    f"the limits of the bench allow {span:.3g} V, and {unit.name} ({unit.capabilities.model}) forces "
                    f"{highest:.3g} V at most; expected limits within it"
                )

    def range_for(self, current: Ampere) -> Ampere:
        """Return the smallest measure range that holds `current`, A."""
        return float(self.ranges[np.searchsorted(self.ranges, current * (1 - 1e-9))])

    def apertures(self) -> tuple[Second, Second]:
        """Return the shortest and the longest integration time that every source can do, s."""
        apertures = [unit.capabilities.apertures for unit in self.working]
        return max(short for short, _ in apertures), min(long for _, long in apertures)


def _spread(steps: Iterable[Step | Fire]) -> Volt:
    """Return the most that two lines can differ by while `steps` are carried out from 0 V, V."""
    levels = [0.0, *(step.volts for step in steps if isinstance(step, Level | Ramp | Fire))]
    return max(levels) - min(levels)
