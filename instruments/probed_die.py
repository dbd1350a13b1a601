"""A real die under needles: sources, and perhaps matrices and a prober, add up to the interface of a simulated die.

Every batch becomes visits (`routing`), every visit steps (`step_sequence`), and between two routes the bench is
verified cold before a relay moves. For a person after a failure: outputs stay on at 0 V while a die is in use, `idle`
switches off in the order 0 V, relays open, outputs off, each read back, and if that cannot be verified the die is at
fault and refuses everything but `idle`.

Sources whose levels do not stand between two calls drive, sense and ramp down within one script, so a visit has the
channels of one instrument; the others stay off. `check` predicts (`visit_time`) what `_do` carries out, from the same
visits and steps.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, combinations, pairwise
from types import MappingProxyType

import numpy as np

from instruments import routing
from instruments.assignment import Assignment, NoWay, Pattern, Reach, assign
from instruments.bench import Bench
from instruments.bench_io import BenchIO
from instruments.bench_state import BenchState, Contact
from instruments.connections import Relay
from instruments.inside_scripts import InsideScripts
from instruments.reading_math import driven_voltage, expected_current, judge, share_columns, subtract_leads
from instruments.script_cells import Visits
from instruments.step_sequence import (
    PULSE,
    READ,
    Act,
    RouteVisit,
    duration,
)
from instruments.transport import CHECK
from instruments.visit_scripts import contact_visit, flagged, put, route_visit, scripts
from instruments.visit_time import VisitTime
from labctl.core.bias import Geometry, Nominal
from labctl.core.die import DieBody, unknown_operation
from labctl.core.errors import BenchError, ContactUnread, refuse_beyond
from labctl.core.operations import Attempts, Flag, Operation, Pulse, Reading, Sense, WritePlan
from labctl.core.prober import Prober
from labctl.core.pulse_source import PulseSource
from labctl.core.source import SourceMeasure
from labctl.core.switch_matrix import Matrix
from labctl.core.units import FloatArray, Second


class ProbedDie(DieBody):
    """The die interface on a bench.

    Args:
        bench: the bench file.
        sources: its source-measure units by name, those that `bench.wiring` uses.
        matrices: its relays by name, perhaps none; their permits are set here.
        prober: moves the needles; its permit is set here. None: the needles do not move.
        nominal: conductances of each kernel, by which measure ranges are chosen.
        polarity: of the die, as in `Geometry`.
        wait: waits for a time, s, by the clock of the twin or by real time.
        permit: raises when nothing may be energised.
        state: of the bench, where it has been in use before.
        pulse_sources: by name, perhaps none; they make the pulses that the sources are too slow for.
    """

    def __init__(
        self,
        bench: Bench,
        sources: dict[str, SourceMeasure],
        matrices: Mapping[str, Matrix],
        prober: Prober | None,
        nominal: Nominal,
        *,
        polarity: int = 1,
        wait: Callable[[Second], None] = time.sleep,
        permit: Callable[[], None] = lambda: None,
        state: BenchState | None = None,
        pulse_sources: Mapping[str, PulseSource] = MappingProxyType({}),
    ) -> None:
        self.bench, self.sources, self.prober = bench, sources, prober
        self._geometry, self._nominal = bench.geometry(polarity), nominal
        nominal.fits(self._geometry)
        self._io = BenchIO(bench, sources, matrices, prober, wait, permit, state, pulse_sources)
        self._time = VisitTime(bench, self._io)
        self._routed: tuple[Sense | Pulse, routing.RouteVisits] | None = None
        self._scripts = self._inside() if bench.programming == "instrument" else None
        for structure in bench.contact.structures:
            self._structure(*structure)

    @property
    def geometry(self) -> Geometry:
        """Shape of the die that the wiring reaches."""
        return self._geometry

    @property
    def state(self) -> BenchState:
        """What is known of the bench."""
        return self._io.state

    @property
    def nominal(self) -> Nominal:
        """Nominal conductances."""
        return self._nominal

    @property
    def scripts(self) -> InsideScripts | None:
        """How write plans are carried out inside the sources; None: by the host loop."""
        return self._scripts

    def _inside(self) -> InsideScripts:
        """Return the scripts of this die inside the sources."""

        def relays(visits: routing.RouteVisits, k: int) -> list[Relay]:
            return self._relays(self.bench.wiring.kernels[int(visits.kernel[k])].lines, visits.route[k].tolist())

        def first_voltage() -> None:
            if self.state.contact is not Contact.BIASED:
                self._first_voltage()

        def visit(visits: routing.RouteVisits, k: int, ranges: FloatArray) -> RouteVisit:
            return route_visit(visits, k, ranges, len(self._io.channels))

        visits = Visits(self._plan, self._sense_ranges, visit, relays, self._time.route, first_voltage)
        return InsideScripts(self.bench, self._io, visits)

    def _program(self, plan: WritePlan) -> Attempts:
        """Write and verify the cells of a plan, inside the sources if the bench file says so."""
        if self._scripts is None:
            return super()._program(plan)
        return self._scripts.run(plan)

    def check(self, operation: Operation) -> Second:
        """Return the predicted bench time, s; of a write plan the longest: all rungs or the whole budget.

        Raises:
            BenchError: the bench cannot do it: levels, pulse width, aperture, shape.
            LimitError: the bench file does not allow it.
        """
        if isinstance(operation, WritePlan) and self._scripts is not None:
            self._scripts.require_fit(operation)
            return self._scripts.longest(operation)
        if isinstance(operation, WritePlan):
            top = operation.write.scaled(operation.ladder.max())
            once = self.check(Pulse(top, operation.width, operation.verify))
            rungs = np.arange(len(operation.ladder))[:, None]
            tries = int((np.asarray(operation.budget) > rungs).sum())
            return once * tries / max(1, len(operation))
        if not isinstance(operation, Sense | Pulse):
            raise unknown_operation(self, operation)
        if not len(operation):
            return 0.0
        visits, act = self._plan(operation)
        return self._time.operation(visits, act, self._sense_ranges(operation, visits), self._inside_reads(operation))

    def _sense(self, sense: Sense) -> Reading:
        """Read the column currents of n patterns."""
        return self._do(sense, sense.cols.shape[1])

    def _pulse(self, pulse: Pulse) -> Reading:
        """Apply n pulses, each followed by its verify read on the same route if the channels allow."""
        return self._do(pulse, 0 if pulse.verify is None else pulse.verify.cols.shape[1])

    def idle(self) -> None:
        """Be safe: 0 V (ramped), relays open, outputs off, each read back. May be called at any time, twice.

        Raises:
            InstrumentError: something is not verified safe; until `idle` succeeds the die refuses everything else.
        """
        self._io.idle()

    def verify_off(self) -> None:
        """Read back that every output is off and no relay is closed; InstrumentError if not. Changes nothing."""
        self._io.verify_off()

    def land(self) -> None:
        """Make the bench ready for needles to touch or lift: outputs verified off, pads on ground if chosen.

        Raises:
            InstrumentError: an output is not verified off, or a pad not on ground; nothing may move.
        """
        self._io.land()

    def continuity(self, first: str, second: str, over: Mapping[int, int] = MappingProxyType({})) -> float:
        """Return the resistance between two pads at the contact check's voltage, ohm; infinite if nothing flows.

        A structure that conducts more than the check's current limit reads at most voltage / limit.

        Args:
            over: channels whose relays close in place of those of the channels that drive and sense, by these.

        Raises:
            ContactUnread: no number comes, twice; whether the structure conducts is not known.
        """
        contact, io = self.bench.contact, self._io
        reach, place = self._structure(first, second)
        io.switch_on()
        route = [reach.source(source, len(io.channels)) for source in place.route]
        io.route(self._relays(reach.pads, [over.get(source, source) for source in route]))
        limit = min(contact.limit, self.bench.limits.compliance)
        visit = contact_visit(place, reach, len(io.channels), io.range_for(limit))
        for _ in range(2):  # what is no number is read once more
            samples = io.carry_out(io.composer.read(visit, Act(read_compliance=limit), visit.sense_range))
            sensed = [sample for tag, sample in samples if tag.kind == READ and (tag.slot == 0 or visit.rest == 0)]
            if all(math.isfinite(sample.current) for sample in sensed):
                break
        io.go_cold(visit.used)
        io.state.biased()
        current = sum(sample.current for sample in sensed) * (1 if visit.rest == 0 else -1)
        limited = any(sample.flag & Flag.COMPLIANCE for _, sample in samples)
        if limited and len(reach.pads) == 2:  # with other wired pads the limit may be reached by what these take
            return contact.voltage / limit
        if not math.isfinite(current):
            where = self.driving(first, second)
            raise ContactUnread(f"{where}: what the contact check has read is no number; {CHECK}")
        return contact.voltage / current if current > 0 else float("inf")

    def driving(self, first: str, second: str) -> str:
        """Return the channels between which the contact check has a current flow, in operator words."""
        reach, place = self._structure(first, second)
        count, name = len(self._io.channels), self.bench.connections.name
        return " to ".join(name(reach.source(source, count)) for source in place.route[:2])

    def exchanges(self) -> Iterator[tuple[str, str, Mapping[int, int]]]:
        """Yield pairs of sources of one model that have the same channels on a matrix, and which stands for which."""
        channels, units = self._io.channels, self._io.units
        for one, other in combinations(range(len(units)), 2):
            if units[one].capabilities.model != units[other].capabilities.model:
                continue
            here = {channel.part: k for k, channel in enumerate(channels) if channel.unit == one}
            there = {channel.part: k for k, channel in enumerate(channels) if channel.unit == other}
            if here.keys() == there.keys():
                over = {here[name]: there[name] for name in here} | {there[name]: here[name] for name in here}
                yield units[one].name, units[other].name, over

    def first_contact_tells(self, one: str, other: str) -> bool:
        """Return whether the first contact of a die fails if two sources are at each other's address.

        It does if a structure, or the cell in its place, is between other channels then: not if both ends are on the
        same channel of each, which only turns the current round, and not if neither source is at an end.
        """
        connections, kernel = self.bench.connections, self.bench.wiring.kernels[0]
        names = [connections.name(k) for k in range(len(self._io.channels))]
        exchanged = {}
        for k, name in enumerate(names):
            instrument, _, channel = name.partition(".")
            if instrument in (one, other):
                twin = f"{other if instrument == one else one}.{channel}"
                exchanged[k] = names.index(twin) if twin in names else len(names) + 1 + k  # wired to nothing
        for pads in self.bench.contact.structures or ((kernel.rows[0], kernel.cols[0]),):
            reach, place = self._structure(*pads)
            ends = {reach.source(source, len(names)) for source in place.route[:2]}
            if {exchanged.get(end, end) for end in ends} != ends:
                return True
        return False

    def continuity_time(self, first: str, second: str) -> Second:
        """Return the predicted time of `continuity`, on a route of its own, s."""
        contact, io = self.bench.contact, self._io
        reach, place = self._structure(first, second)
        limit = min(contact.limit, self.bench.limits.compliance)
        visit = contact_visit(place, reach, len(io.channels), io.range_for(limit))
        seconds = self._time.script([visit], Act(read_compliance=limit), ends=True)
        composer = io.new_composer()
        cold = composer.script(composer.cold(visit.used))
        seconds += duration(cold, io.channels, self.bench.timing, self.bench.outputs.cold_aperture)
        return seconds + self._time.route()

    def _structure(self, first: str, second: str) -> tuple[Reach, Assignment]:
        """Return the sources of the contact check between two pads; lines wired to their kernels are held at 0 V.

        Raises:
            BenchError: no sources put a voltage between the two pads and measure the current of one.
        """
        wiring, wired = self.bench.wiring, self.bench.connections.wired
        of = wiring.kernels_of()
        kernels = {of[pad] for pad in (first, second) if pad in of}
        others = [p for p in wired if p not in (first, second) and of.get(p) in kernels]
        reason = ""
        for one, other in ((first, second), (second, first)):
            reach = self._io.reach((one, other, *others), (1, 1 + len(others)))
            levels = np.zeros(2 + len(others))
            levels[0] = self.bench.contact.voltage
            pattern = Pattern(np.zeros_like(levels), levels, np.zeros(len(levels), np.bool_), -1, (1,))
            try:
                return reach, assign(pattern, reach)
            except NoWay as no_way:
                reason = reason or str(no_way)
        raise BenchError(
            f"no contact check between {first} and {second}: "
            f"{reason or f'it drives one of the pads and senses the other; {self._too_few(2)}'}"
        )

    def _relays(self, pads: Sequence[str], route: Iterable[int]) -> list[Relay]:
        """Return the relays that connect pads to their sources, by which no wire is gone."""
        connections = self.bench.connections
        relays = (connections.relay(pad, s) for pad, s in zip(pads, route, strict=True) if s >= 0)
        return [relay for relay in relays if relay is not None]

    def _first_voltage(self) -> None:
        """Apply the voltage of the contact check, as the first on a die that was touched; the result is not judged."""
        structures, kernel = self.bench.contact.structures, self.bench.wiring.kernels[0]
        self.continuity(*(structures[0] if structures else (kernel.rows[0], kernel.cols[0])))

    # -- from an operation to visits ------------------------------------------------------------------------------

    def _plan(self, operation: Sense | Pulse) -> tuple[routing.RouteVisits, Act]:
        """Check an operation and return its visits."""
        bias, limits = operation.bias, self.bench.limits
        bias.fits(self._geometry)
        judge(bias, limits, self._geometry.polarity)
        read = operation if isinstance(operation, Sense) else operation.verify
        act = Act(read_compliance=bias.compliance, pulse_compliance=bias.compliance)
        if read is not None:
            read.bias.fits(self._geometry)
            judge(read.bias, limits, self._geometry.polarity)
            shortest, longest = self._io.apertures()
            if not shortest <= read.aperture <= longest:
                raise BenchError(
                    f"an aperture of {read.aperture:.3g} s asked for; "
                    f"the sources integrate {shortest:.3g} to {longest:.3g} s"
                )
            act = Act(0.0, bias.compliance, read.bias.compliance, read.aperture)
            if self.bench.reads.lead_resistance:
                driven_voltage(read.bias)
        if isinstance(operation, Pulse):
            refuse_beyond("pulse width on this bench", operation.width, limits.width, "s")
            fired = self._too_short(operation.width)
            act = Act(operation.width, bias.compliance, act.read_compliance, act.aperture, fired)
        try:
            visits = self._routes(operation, apart=act.fired and not self._io.stands)
        except routing.TooFewChannels as error:
            raise BenchError(f"{error}: {self._too_few(error.needed)}{_hint(operation, error)}") from error
        if act.fired:
            self._io.short.judge(visits, act.width)
        return visits, act

    def _too_short(self, width: Second) -> bool:
        """Return whether a pulse source has to make a pulse of this width, s; BenchError if nothing makes one."""
        for unit in self._io.working:
            capabilities = unit.capabilities
            if width < capabilities.shortest_pulse * (1 - 1e-9):
                sources = (
                    f"{unit.name} ({capabilities.model}) makes none shorter than {capabilities.shortest_pulse:.3g} s"
                )
                self._io.short.refuse_width(width, sources)
                return True
            if width > capabilities.longest_pulse * (1 + 1e-9):
                raise BenchError(
                    f"a pulse of {width:.3g} s asked for; {unit.name} ({capabilities.model}) makes "
                    f"none longer than {capabilities.longest_pulse:.3g} s"
                )
        return False

    def _routes(self, operation: Sense | Pulse, *, apart: bool) -> routing.RouteVisits:
        """Return the routes of an operation; kept for the next time that it is the same one, as it is checked first.

        They depend on the operation and the wiring alone; levels are judged every time.

        Args:
            apart: a pulse and its read are on routes of their own.
        """
        if self._routed is None or self._routed[0] is not operation:
            self._routed = operation, routing.plan(operation, self._io.reaches, len(self._io.channels), apart=apart)
        return self._routed[1]

    def _too_few(self, needed: int) -> str:
        """Return why the channels of the bench are not enough."""
        io = self._io
        if io.stands:
            return f"{needed} channels are needed"
        counts = Counter(channel.instrument for channel in io.channels)
        most = max(counts, key=lambda unit: counts[unit])
        unit = io.units[most]
        return (
            f"{needed} channels of one instrument are needed, and none here has more than {unit.name} "
            f"({unit.capabilities.model}) with {counts[most]}; levels cannot be held from one script to the next"
        )

    def _sense_ranges(self, operation: Sense | Pulse, visits: routing.RouteVisits) -> FloatArray:
        """Return (v,) A, the measure range of the columns that each visit senses."""
        ranges = self._io.ranges
        read = operation if isinstance(operation, Sense) else operation.verify
        if read is None or not read.cols.shape[1]:
            return np.full(len(visits), ranges[0])
        wanted = expected_current(read, self._nominal.g_p(read.bias.kernel), self.bench.reads)[visits.pattern]
        return self._io.ranges[
            np.minimum(np.searchsorted(self._io.ranges, wanted * (1 - 1e-9)), len(self._io.ranges) - 1)
        ]

    # -- running visits ----------------------------------------------------------------------------------------

    def _do(self, operation: Sense | Pulse, m: int) -> Reading:
        n = len(operation)
        reading = Reading(np.full((n, m), np.nan), np.full((n, m), Flag.UNKNOWN, np.uint8), np.zeros(n, np.uint8))
        if not n:
            return reading
        visits, act = self._plan(operation)
        ranges = self._sense_ranges(operation, visits)
        if self.state.contact is not Contact.BIASED:
            self._first_voltage()
        self._io.switch_on()
        moves = visits.moves
        inside = self._inside_reads(operation) is not None
        if inside:
            self._read_inside(visits, act, ranges, reading)
        for piece in () if inside else scripts(visits):
            begin, end = piece.start, piece.stop
            if moves[begin]:
                kernel = self.bench.wiring.kernels[int(visits.kernel[begin])]
                self._io.route(self._relays(kernel.lines, visits.route[begin].tolist()))
            script = [route_visit(visits, k, ranges, len(self._io.channels)) for k in piece]
            self._run_script(visits, script, act, reading, last=end == len(visits) or bool(moves[end]))
        read = operation if isinstance(operation, Sense) else operation.verify
        if read is not None:
            share_columns(reading, read.cols)
        if read is not None and read.bias.floating is not None:
            floating = np.take_along_axis(read.bias.floating[:, read.bias.row.shape[1] :], read.cols, 1)
            reading.current[floating], reading.flag[floating] = 0.0, Flag.INVALID
        if read is not None and self.bench.reads.lead_resistance:
            subtract_leads(reading, driven_voltage(read.bias), self.bench.reads.lead_resistance)
        return reading

    def _run_script(
        self, visits: routing.RouteVisits, piece: Sequence[RouteVisit], act: Act, reading: Reading, *, last: bool
    ) -> None:
        """Run visits on the present route, go cold after the `last`, put the samples into `reading`."""
        io = self._io
        used = piece[0].used
        events = (event for visit in piece for event in io.composer.visit(visit, act))
        samples = io.carry_out(chain(events, io.composer.cold(used)) if last else events)
        again = flagged(piece, samples, act)
        for visit in again:  # more current than the nominal cell carries: read once more on the largest range
            samples = [pair for pair in samples if pair[0].visit != visit.number or pair[0].kind == PULSE]
            samples += io.carry_out(io.composer.read(visit, act, io.range_for(act.read_compliance)))
        if last and again:
            io.go_cold(used)
        elif last:
            io.end_cold(samples, used)
        put(visits, piece, samples, reading)

    def _inside_reads(self, operation: Sense | Pulse) -> InsideScripts | None:
        """Return what carries out an operation inside the sources, which move the relays then; None: the host does."""
        scripts = self._scripts
        return scripts if scripts is not None and isinstance(operation, Sense) and scripts.reads else None

    def _read_inside(self, visits: routing.RouteVisits, act: Act, ranges: FloatArray, reading: Reading) -> None:
        """Read by scripts that move relays, put the samples into `reading`.

        Visits that are flagged are read once more on the largest range afterwards, by the host.
        """
        assert self._scripts is not None
        io = self._io
        ends = [*np.flatnonzero(visits.moves).tolist(), len(visits)]
        samples = self._scripts.sense(visits, [range(*pair) for pair in pairwise(ends)], act, ranges)
        every = [route_visit(visits, k, ranges, len(self._io.channels)) for k in range(len(visits))]
        for visit in flagged(every, samples, act):
            kernel = self.bench.wiring.kernels[int(visits.kernel[visit.number])]
            io.route(self._relays(kernel.lines, visits.route[visit.number].tolist()))
            samples = [pair for pair in samples if pair[0].visit != visit.number]
            samples += io.carry_out(io.composer.read(visit, act, io.range_for(act.read_compliance)))
            io.go_cold(visit.used)
        put(visits, every, samples, reading)


def _hint(operation: Sense | Pulse, error: routing.TooFewChannels) -> str:
    """Return what would do instead, in operator words."""
    if isinstance(operation, Pulse):
        return "; a write scheme of fewer levels would do: 'half' takes two channels and a ground, 'third' three"
    return f"; fewer levels at once would do, or a source of {error.needed} channels"
