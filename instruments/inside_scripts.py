"""Write plans and reads carried out inside a source, as scripts: over which relays, in which time, to what end.

Where the matrix is on a bus of the source, such as TSP-Link, one script writes all cells of a plan
(`instruments.script_cells`) and moves the relays itself; where it is apart, a script writes the cells of one route, and
the host moves the relays between two scripts.

A script that broke off is asked how far it came, after its outputs were verified off and before anything is reset.
"""

import contextlib
from collections.abc import Sequence
from typing import cast

import numpy as np

from instruments.bench import Bench
from instruments.bench_io import COLD_TRIES, BenchIO
from instruments.bench_state import State
from instruments.connections import Relay
from instruments.reading_math import driven_voltage, subtract_leads
from instruments.routing import RouteVisits
from instruments.scpi import BEYOND
from instruments.script_cells import CELL, CellPlanner, Cells, Visits, characters_of, pieces_of, steps_of
from instruments.step_sequence import MESSAGES, Act, ChannelStep, Tag
from instruments.transport import CHECK
from instruments.visit_scripts import flagged_without_number
from labctl.core.cell_program import (
    CellAttempt,
    CellProgram,
    CellTask,
    Handed,
    Programs,
    ReadProgram,
    ReadsRoutes,
    RelayMove,
    RouteReads,
)
from labctl.core.errors import BenchError, InstrumentError, LabError
from labctl.core.operations import Attempts, Flag, Reading, WritePlan
from labctl.core.source import Measure, Sample, SourceMeasure, Watch
from labctl.core.units import FloatArray, IntArray, Second

MOST_ROUTES = 64
"""Routes of one script that reads; some 300 characters and 25 samples each."""

ROUTES, MOVES = {"open": 1, "grounded": 3}, {"open": 2, "grounded": 4}
"""Routes per change of route, and relay moves in them, by `Outputs.between_routes`."""


class InsideScripts:
    """The scripts of one die on a bench.

    Args:
        bench: names the sources and the matrix, which are on one bus if both have a node there.
        io: sources and relays.
        visits: of the die.

    Raises:
        BenchError: a source that is used carries out no scripts, or one end of the bus is not named.
    """

    def __init__(self, bench: Bench, io: BenchIO, visits: Visits) -> None:
        self._bench, self._io, self._visits = bench, io, visits
        self.planner = CellPlanner(bench, io, visits)
        self._rescued: Attempts | None = None
        for unit in io.working:
            if unit.capabilities.script is None:
                raise BenchError(
                    f"'programming: instrument': {unit.name} ({unit.capabilities.model}) carries out no scripts that "
                    "write and verify cells; leave it at host"
                )
        nodes = {name: bench.instruments[name].node for name in io.relays.matrices}
        ends = {unit.name: bench.instruments[unit.name].node for unit in io.working}
        self.node: int | None = None
        """Node of the matrix on the bus of the sources; None if it is apart, or there is none."""
        if len(nodes) == 1 and any(node is not None for node in nodes.values()):
            if missing := [name for name, node in ends.items() if node is None]:
                raise BenchError(
                    f"{next(iter(nodes))} is a node of TSP-Link, and {', '.join(missing)} is none; write 'tsplink' "
                    "with the node number of each, or leave it out of all"
                )
            (self.node,) = nodes.values()
            if len({self.node, *ends.values()}) <= len(ends):
                raise BenchError("two instruments have one node number on TSP-Link; expected a number of its own each")
        elif any(node is not None for node in nodes.values()):
            raise BenchError("several matrices, and one of them a node of TSP-Link; leave 'tsplink' out of all")
        self._met: set[str] = set()

    def expect(self, plan: WritePlan) -> None:
        """Take note that `plan` comes next: until it is begun, `rescued` is without an attempt of it."""
        self._rescued = Attempts.none_of(plan)

    @property
    def rescued(self) -> Attempts | None:
        """What is known of the last plan, without an attempt if it ended before a script; None: nothing is known."""
        return self._rescued

    # -- what it takes

    def expected(self, plan: WritePlan, given: IntArray | None = None) -> Second:
        """Return the predicted time of `plan` if every cell verifies at its first pulse, or gets `given` (N,), s."""
        return self._seconds(plan, np.minimum(plan.most, 1) if given is None else given)

    def longest(self, plan: WritePlan) -> Second:
        """Return the predicted time of `plan` if every budget is used up, s."""
        return self._seconds(plan, plan.most)

    def _seconds(self, plan: WritePlan, tries: IntArray) -> Second:
        cells = self.planner.of(plan)
        total = 0.0
        for number, kind, rests in zip(cells.number, cells.kind, _rests(cells.relays), strict=True):
            attempt, cold = cells.seconds[kind]
            total += int(tries[number]) * attempt + rests * cold
        timing = self._bench.timing
        if self.node is None:
            routes = sum(a != b for a, b in zip(cells.relays, [None, *cells.relays], strict=False))
            return total + routes * (self._visits.route_time() + MESSAGES * timing.message)
        empty: frozenset[Relay] = frozenset()
        moves = [move for of_cell in self._moves(cells.relays, empty) for move in of_cell]
        relays = sum(bool(move.opening) + bool(move.closing) for move in moves)
        return total + relays * timing.relay + len(moves) * self._bench.settling.relays + MESSAGES * timing.message

    def require_fit(self, plan: WritePlan) -> None:
        """Raise BenchError if a source cannot hold the script of `plan`, or all its attempts."""
        cells = self.planner.of(plan)
        empty: frozenset[Relay] = frozenset()
        moves = self._moves(cells.relays, empty)
        for pieces in pieces_of(cells, linked=self.node is not None):
            unit = self._io.units[cells.unit[pieces[0]]]
            size = unit.capabilities.script
            assert size is not None
            text = sum(characters_of(cells.kinds[k]) for k in sorted({cells.kind[c] for c in pieces}))
            text += sum(CELL for _ in pieces) + 12 * len(plan.ladder)
            if self.node is not None:
                relays = (len(m.opening) + len(m.closing) for c in pieces for m in moves[c])
                text += sum(6 * count + 60 for count in relays)
            attempts = int(plan.most[[cells.number[c] for c in pieces]].sum())
            for quantity, needed, most in (
                ("characters", text, size.characters),
                ("attempts", attempts, size.attempts),
            ):
                if needed > most:
                    raise BenchError(
                        f"a script of {len(pieces)} cells has up to {needed} {quantity}, and {unit.name} "
                        f"({unit.capabilities.model}) is taken to hold {most}; a smaller budget or a shorter ladder "
                        "would do, or 'programming: host'"
                    )

    # -- carrying a plan out

    def run(self, plan: WritePlan) -> Attempts:
        """Carry out a plan; return its attempts, cell by cell.

        What broke off was made safe, and `rescued` tells how far it came.
        """
        self.expect(plan)
        cells = self.planner.of(plan)
        self.require_fit(plan)
        made: list[CellAttempt] = []
        if not cells.number:
            return Attempts.none_of(plan)
        self._visits.first_voltage()
        self._io.switch_on()
        self._rescued = None
        try:
            for pieces in pieces_of(cells, linked=self.node is not None):
                self._piece(plan, cells, pieces, made)
        finally:
            self._rescued = self._attempts(plan, made)
        return self._rescued

    # -- reads

    @property
    def reads(self) -> bool:
        """Whether reads are carried out inside the sources as well: where these move the relays by themselves."""
        scripts = [unit.capabilities.script for unit in self._io.working]
        return self.node is not None and all(script is not None and script.reads for script in scripts)

    @property
    def route_time(self) -> Second:
        """Time of a change of route inside the sources, s."""
        bench = self._bench
        between = bench.outputs.between_routes
        return ROUTES[between] * bench.settling.relays + MOVES[between] * bench.timing.relay

    def sense(
        self, visits: RouteVisits, routes: Sequence[range], act: Act, ranges: FloatArray
    ) -> list[tuple[Tag, Sample]]:
        """Read; return the samples of the visits with their tags.

        Args:
            routes: the visits of each route.
        """
        samples: list[tuple[Tag, Sample]] = []
        unit = [self._io.channels[self._visits.one(visits, r.start, ranges).used[0]].instrument for r in routes]
        begin = 0
        while begin < len(routes):
            end = begin + 1
            while end < len(routes) and end - begin < MOST_ROUTES and unit[end] == unit[begin]:
                end += 1
            samples += self._read(visits, routes[begin:end], unit[begin], act, ranges)
            begin = end
        return samples

    def _read(
        self, visits: RouteVisits, routes: Sequence[range], unit: int, act: Act, ranges: FloatArray
    ) -> list[tuple[Tag, Sample]]:
        """Read on some routes by one script of one source."""
        io, bench = self._io, self._bench
        source = io.units[unit]
        present = self._hand_over(source, cast("Programs", source))
        closed = [frozenset(self._visits.relays(visits, route.start)) for route in routes]
        composer, spread = io.new_composer(), 0.0
        parts: list[RouteReads] = []
        asked: list[ChannelStep] = []
        for route, moves in zip(routes, self._moves(closed, present), strict=True):
            chosen = [self._visits.one(visits, k, ranges) for k in route]
            steps = [event for visit in chosen for event in composer.visit(visit, act)]
            asked += [event for event in steps if isinstance(event.step, Measure | Watch)]
            parts.append(RouteReads(moves, steps_of(steps), steps_of(list(composer.cold(chosen[-1].used)))))
            spread = max(spread, *(max(0.0, *v.read) - min(0.0, *v.read) for v in chosen))
        outputs, settling = bench.outputs, bench.settling
        program = ReadProgram(
            tuple(parts),
            outputs.cold_voltage,
            outputs.cold_current,
            COLD_TRIES,
            settling.source,
            settling.relays,
            bench.timing.relay,
            cast("int", self.node),
        )
        with io.state.script(spread, closed[-1]):
            try:
                samples = cast("ReadsRoutes", source).read_routes(program)
            except BaseException:
                io.silence_joined()
                raise
            finally:
                io.composer.forget(unit)
        return [
            (event.tag, flagged_without_number(event.step, sample))
            for event, sample in zip(asked, samples, strict=True)
            if event.tag is not None
        ]

    def _piece(self, plan: WritePlan, cells: Cells, pieces: Sequence[int], made: list[CellAttempt]) -> None:
        """Carry out one script; append its attempts, or what is known of them if it breaks off.

        From before it is sent until more is known, all attempts that it might make are among them.
        """
        io, unit = self._io, self._io.units[cells.unit[pieces[0]]]
        source = cast("Programs", unit)
        if self.node is None:
            io.route(cells.relays[pieces[0]])
            program = self._program(plan, cells, pieces, [()] * len(cells.number))
            context = io.state.drive(cells.spread)
        else:
            present = self._hand_over(unit, source)
            chosen = [cells.relays[c] for c in pieces]
            moves: list[tuple[RelayMove, ...]] = [()] * len(cells.number)
            for c, of_cell in zip(pieces, self._moves(chosen, present), strict=True):
                moves[c] = of_cell
            program = self._program(plan, cells, pieces, moves)
            context = io.state.script(cells.spread, chosen[-1])
        with context:
            begin = len(made)
            made += _at_most(program)
            try:
                made[begin:] = source.program(program)
                _require_numbers(unit.name, made[begin:])
            except BaseException:
                io.silence_joined()
                with contextlib.suppress(LabError):
                    if (rescued := source.rescue()) is not None:
                        made[begin:] = rescued
                raise
            finally:
                io.composer.forget(cells.unit[pieces[0]])
        if self.node is None:
            io.state.at_zero()

    def _hand_over(self, unit: SourceMeasure, source: Programs) -> frozenset[Relay]:
        """Have the source reach the matrix; return the relays that are closed."""
        io = self._io
        if io.state.state is not State.ROUTED:
            io.go_cold(io.active)
        ((name, matrix),) = io.relays.matrices.items()
        if not isinstance(matrix, Handed):
            raise BenchError(f"{name}: its relays can be moved by no other instrument; leave out 'tsplink'")
        present = io.relays.closed() if io.state.closed is None else io.state.closed
        with io.state.route(present):  # what breaks off in it leaves nothing to be switched off in order
            matrix.hand_over(source.release)
            if unit.name not in self._met:
                self._meet(unit, source, name)
        return present

    def _meet(self, unit: SourceMeasure, source: Programs, name: str) -> None:
        """Ask which matrix a source finds at its node; InstrumentError if it is another model than the bench file's."""
        assumed = cast("int", self.node)
        expected = getattr(self._bench.instruments[name].options, "model", "")
        model = source.linked(assumed)
        if expected and model != expected:
            raise InstrumentError(
                f"{unit.name}: node {assumed} of its TSP-Link is a {model}, and {name} is a {expected}; look at "
                "'tsplink' in the bench file"
            )
        self._met.add(unit.name)

    def _program(
        self, plan: WritePlan, cells: Cells, pieces: Sequence[int], moves: Sequence[tuple[RelayMove, ...]]
    ) -> CellProgram:
        bench = self._bench
        kinds = sorted({cells.kind[c] for c in pieces})
        tasks = tuple(
            CellTask(
                number := cells.number[c],
                kinds.index(cells.kind[c]),
                moves[c],
                bool(plan.target[number]),
                float(plan.cut[number]),
                int(plan.most[number]),
                rests,
            )
            for c, rests in zip(pieces, _rests([cells.relays[c] for c in pieces]), strict=True)
        )
        return CellProgram(
            tuple(cells.kinds[k] for k in kinds),
            tasks,
            tuple(plan.ladder.tolist()),
            plan.v_read,
            bench.outputs.cold_voltage,
            bench.outputs.cold_current,
            COLD_TRIES,
            bench.settling.source,
            bench.settling.relays,
            bench.timing.relay,
            self.node,
        )

    def _moves(self, wanted: Sequence[frozenset[Relay]], present: frozenset[Relay]) -> list[tuple[RelayMove, ...]]:
        """Return the moves that lead to each set of closed relays in turn."""
        moves = []
        for closed in wanted:
            of_cell = []
            for after in self._io.route_steps(present, closed) if closed != present else ():
                opening, closing = (sorted(name for _, name in part) for part in (present - after, after - present))
                if opening or closing:
                    of_cell.append(RelayMove(tuple(opening), tuple(closing), len(after)))
                present = after
            moves.append(tuple(of_cell))
        return moves

    def _attempts(self, plan: WritePlan, made: Sequence[CellAttempt]) -> Attempts:
        """Return the attempts of a plan as arrays, currents corrected for leads."""
        cell = np.array([m.cell for m in made], np.int64)
        attempt = np.array([m.attempt for m in made], np.int64)
        flag, pulse = (np.array([getattr(m, f) for m in made], np.uint8) for f in ("flag", "pulse_flag"))
        reading = Reading(np.array([[m.current] for m in made]).reshape(-1, 1), flag[:, None], pulse)
        if made and self._bench.reads.lead_resistance:
            volts = driven_voltage(plan.verify.bias)[cell]
            subtract_leads(reading, volts, self._bench.reads.lead_resistance)
        verified, short = np.zeros(len(plan), np.bool_), np.zeros(len(plan), np.bool_)
        verified[cell[[m.verified for m in made]]] = True
        short[cell[(flag & Flag.COMPLIANCE) != 0]] = True
        voltage = plan.ladder[attempt - 1] if len(attempt) else np.zeros(0)
        return Attempts(cell, attempt, voltage, reading.current[:, 0], flag, pulse, verified, short)


def _rests(relays: Sequence[frozenset[Relay]]) -> list[bool]:
    """Return of each cell whether its sources are to be verified cold behind it: before relays move, and at the end."""
    return [one != after for one, after in zip(relays, [*relays[1:], None], strict=True)]


def _require_numbers(name: str, made: Sequence[CellAttempt]) -> None:
    """Raise InstrumentError if an attempt has no number, and no flag that says so; all of them count."""
    for one in made:
        if not one.flag & (Flag.OVERRANGE | Flag.UNKNOWN) and not abs(one.current) < BEYOND:
            raise InstrumentError(f"{name}: attempt {one.attempt} at a cell has read {one.current:g} A; {CHECK}")


def _at_most(program: CellProgram) -> list[CellAttempt]:
    """Return all attempts that a program might make, each of them unknown."""
    unknown = Flag.UNKNOWN
    return [
        CellAttempt(cell.number, attempt, float("nan"), unknown, unknown, False)
        for cell in program.cells
        for attempt in range(1, 1 + min(cell.budget, len(program.ladder)))
    ]
