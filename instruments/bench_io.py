"""Switching of a bench for a probed die: outputs on and off, relays, and the check that all is cold before they move.

The state of the bench is kept here and nowhere else: outputs on, sources verified cold, relays closed, and the fault,
if any. Everything unexpected is a fault; only `idle` ends a fault. A bench without a matrix has no relay to open: its
pads are separated from its sources by nothing but outputs that are off. One module of 330 lines because all of it
guards this one state.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from instruments.assignment import Reach
from instruments.bench import Bench
from instruments.connections import Relay
from instruments.emergency import emergency_open, persist, silence
from instruments.reach import reach_of
from instruments.relays import Relays
from instruments.step_sequence import COLD, ChannelStep, Composer, SourceChannel, Tag, calls
from labctl.core.errors import BenchError, ContactError, InstrumentError, LabError
from labctl.core.prober import Prober
from labctl.core.source import Aperture, ChannelSetup, Measure, Sample, SourceMeasure, Watch
from labctl.core.switch_matrix import Matrix
from labctl.core.units import Ampere, FloatArray, Second

COLD_TRIES = 3
"""Readings at 0 V before the sources count as hot."""


class BenchIO:
    """Sources, matrices and prober of a bench, moved in safe order only.

    Args:
        bench: limits, waits and wiring.
        sources, matrices, prober: as in `ProbedDie`; the guards of matrices and prober are set here.
        wait: waits for a time, s.
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
    ) -> None:
        self.bench, self.prober, self._wait, self._permit = bench, prober, wait, permit
        self.relays = Relays(matrices, self._require_cold)
        connections = self._connections = bench.connections
        names = self._names = list(sources)
        self._patience = {name: entry.patience for name, entry in bench.instruments.items()}
        wired_channels = [channel.partition(".") for channel in connections.channels]
        missing = sorted({name for name, _, _ in wired_channels} - set(names))
        if missing:
            raise BenchError(f"the wiring uses {', '.join(missing)}, which is not among the sources")
        self.units = list(sources.values())
        self.channels = [SourceChannel(names.index(name), part) for name, _, part in wired_channels]
        wired = sorted({channel.instrument for channel in self.channels})
        self.stands = all(self.units[unit].capabilities.stands for unit in wired)
        self.active: tuple[int, ...] = tuple(range(len(self.channels)))
        self.reaches = tuple(
            self.reach(kernel.lines, (len(kernel.rows), len(kernel.cols))) for kernel in bench.wiring.kernels
        )
        straight = set(connections.wired.values()) - {connections.ground}
        self.active = tuple(sorted({c for reach in self.reaches for c in reach.channels} | straight))
        self.working = [self.units[unit] for unit in sorted({self.channels[c].instrument for c in self.active})]
        self.composer = self.new_composer()
        self.moved = prober is None
        """Needles were moved and have carried no voltage since; the first voltage is that of the contact check.

        Without a prober nobody knows when they were."""
        self._ready = self.cold = False
        self._closed: frozenset[Relay] | None = None
        self._fault = ""
        self.ranges = self._common_ranges()
        if prober is not None:
            prober.guard = self._permit_motion

    def idle(self) -> None:
        """Be safe: 0 V (ramped), relays open, outputs off, each read back. May be called at any time, twice.

        After a fault, or if the orderly sequence fails, the sources are switched off at once and without a ramp
        (`instruments.emergency`). Relays open when every source is verified off; otherwise they stay.

        Raises:
            InstrumentError: something is not verified safe; until `idle` succeeds the die refuses everything else.
        """
        orderly, self._fault = not self._fault, "the bench was not made safe"
        notes = self._ramp_down() if orderly and self._ready else []
        self._ready = self.cold = False
        sources = dict(zip(self._names, self.units, strict=True))
        if orderly and not notes:
            sources = {name: unit for name, unit in sources.items() if not self._off(name, unit, notes)}
        failed, _ = silence(sources, self._patience, self._wait)
        self.cold = not failed
        if self.cold:
            failed |= self._open_relays(urgent=not orderly)
        if failed:
            self._fault = "; ".join(failed.values())
            stay = "" if self.cold else "; relays stay as they are"
            raise InstrumentError(f"the bench is NOT verified safe: {'; '.join([*failed.values(), *notes])}{stay}")
        self._fault = ""

    def _ramp_down(self) -> list[str]:
        """Set outputs to 0 V and open relays, outputs still on; return the errors."""
        try:
            self.go_cold(range(len(self.channels)))
            self.relays.route(())
        except BaseException as error:  # a third-party driver may raise anything
            return [str(error) or type(error).__name__]
        return []

    def _off(self, name: str, unit: SourceMeasure, notes: list[str]) -> bool:
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
        self._verify(frozenset())

    def verify_landing(self) -> None:
        """Read back that every output is off and the landing relays are closed; InstrumentError if not.

        Changes nothing; `land` establishes this state.
        """
        self._verify(self.bench.landing)

    def _permit_motion(self) -> None:
        """Guard of the prober: raise unless needles may touch and lift."""
        self.verify_landing()
        self.moved = True

    def land(self) -> None:
        """Make the bench ready for needles to touch or lift: outputs verified off, pads on ground if chosen.

        No relay moves if this is the present state.

        Raises:
            InstrumentError: an output is not verified off, or a pad not on ground; nothing may move.
        """
        if not self._ready and not self._fault:
            with contextlib.suppress(LabError):
                return self.verify_landing()
        self.idle()
        if landing := self.bench.landing:
            self.relays.route(landing, frozenset())
            self._wait(self.bench.settling.relays)

    def _verify(self, wanted: frozenset[Relay]) -> None:
        """Read back that every output is off and exactly the relays `wanted` are closed."""
        for unit in self.units:
            unit.verify_off()
        closed = self.relays.closed()
        names = ", ".join(sorted({matrix for matrix, _ in closed ^ wanted}))
        if not wanted and closed:
            raise InstrumentError(f"{names}: {len(closed)} relays are closed; nothing moves before they open")
        if closed != wanted:
            raise InstrumentError(
                f"{names}: {len(wanted - closed)} pads are not on ground, and {len(closed - wanted)} other "
                "relays are closed; needles touch and lift with every pad on ground, so land first"
            )

    def carry_out(self, events: Iterable[ChannelStep]) -> list[tuple[Tag, Sample]]:
        """Run events as one call of each instrument in turn; return the samples with their tags."""
        samples: list[tuple[Tag, Sample]] = []
        self.cold = False
        try:
            for unit, script in calls(self.composer.script(events), self.channels):
                readings = self.units[unit].run([event.step for event in script])
                tags = [event.tag for event in script if isinstance(event.step, Measure | Watch)]
                samples += [(tag, sample) for tag, sample in zip(tags, readings, strict=True) if tag is not None]
        except BaseException:
            self._fault = "an operation broke off; idle the bench first"
            raise
        return samples

    def go_cold(self, used: Iterable[int]) -> None:
        """Set those of the channels `used` that are on to 0 V behind the low limit; verify by reading V and A."""
        wanted, hot = tuple(c for c in used if c in self.active), ""
        for repeat in range(COLD_TRIES):
            if repeat:
                self._wait(self.bench.settling.source)
            hot = self.hot(self.carry_out(self.composer.cold(wanted)))
            if not hot:
                self.cold = True
                return
        self._fault = hot
        raise InstrumentError(f"{hot}; no relay moves")

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
        wanted, present = frozenset(closed), self._closed
        if wanted == present:
            return
        self._closed, before = None, self._fault
        self._fault = "a route broke off; idle the bench first"
        if present is None:
            present = self.relays.closed()
        for relays in self._route_steps(present, wanted):
            self.relays.route(relays, present)
            present = relays
            self._wait(self.bench.settling.relays)
        self._closed, self._fault = wanted, before

    def _route_steps(self, present: frozenset[Relay], wanted: frozenset[Relay]) -> list[frozenset[Relay]]:
        """Return the sets of closed relays that lead from one route to the next.

        With lines grounded between routes, every line of either is connected to ground, then to its new source, then
        disconnected from ground; all sources are at 0 V meanwhile, or the guard of the matrix refuses.
        """
        grounding = self._connections.grounding
        if self.bench.outputs.between_routes == "open" or not grounding:
            return [wanted]
        lines = frozenset(grounding[relay] for relay in present | wanted if relay in grounding)
        return [present | lines, wanted | lines, wanted]

    def energise(self) -> None:
        """Switch the outputs that visits use on at 0 V, needles verified in contact; nothing happens if they are on.

        No channel is on a pad before: relays are open, or every pad is on ground as it was when the needles touched.

        Raises:
            SwitchedOff: `permit` refuses; `idle` switches off the outputs that were on.
        """
        if self._fault:
            raise InstrumentError(f"the bench must be made safe first: {self._fault}")
        self._permit()
        if self._ready:
            return
        if self.prober is not None and not self.prober.in_contact():
            raise ContactError(f"{self.prober.name}: the needles are not in contact; no output goes on")
        self._closed = self.relays.closed()
        self._verify(self.bench.landing if self._closed else frozenset())
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
            by_unit.setdefault(channel.instrument, []).append(channel.name)
        self._fault = "switching on broke off; idle the bench first"
        for unit, names in by_unit.items():
            self.units[unit].prepare(dict.fromkeys(names, setup))
            self._permit()
            self.units[unit].output(names)
            self.units[unit].run([Aperture(name, outputs.cold_aperture) for name in names])
        self.composer = self.new_composer()
        self._ready, self._fault = True, ""
        self.go_cold(self.active)
        self._permit()  # refused between the last check and the output: it ends at 0 V

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

    def _require_cold(self) -> None:
        """Guard of the matrices: raise unless every source was last verified at 0 V or off."""
        if not self.cold:
            raise InstrumentError("relays stay as they are: the sources are not verified at 0 V")

    def _common_ranges(self) -> FloatArray:
        """Return the current ranges that every source has, A, ascending, up to the one that holds the compliance."""
        common = set.intersection(*(set(unit.capabilities.ranges_i) for unit in self.working))
        ranges = sorted(common)
        top = next((k for k, r in enumerate(ranges) if r >= self.bench.limits.compliance * (1 - 1e-9)), None)
        if top is None:
            raise BenchError(f"no current range of the sources holds {self.bench.limits.compliance:.3g} A")
        return np.array(ranges[: top + 1])

    def range_for(self, current: Ampere) -> Ampere:
        """Return the smallest measure range that holds `current`, A."""
        return float(self.ranges[np.searchsorted(self.ranges, current * (1 - 1e-9))])

    def apertures(self) -> tuple[Second, Second]:
        """Return the shortest and the longest integration time that every source can do, s."""
        apertures = [unit.capabilities.apertures for unit in self.working]
        return max(short for short, _ in apertures), min(long for _, long in apertures)
