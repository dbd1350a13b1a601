"""The twin of a bench: the bench file's instruments, emulated, wired as the file says, around simulated dies.

It is reached over bytes in this process, or over sockets of 127.0.0.1 through VISA. All code above the transport is the
same as on the real bench.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from instruments.bench import Bench
from instruments.board_bench import AnyBench, BoardBench, Exchange
from instruments.drivers import InPlace
from instruments.entry import Entry
from instruments.timing import BenchTiming
from instruments.transport import BytesTransport
from labctl.core import plugins
from labctl.core.body import nothing
from labctl.core.driver import DriverKind, Wire
from labctl.core.errors import BenchError, LabError
from labctl.core.prober import Subsite
from labctl.core.site import Spot
from labctl.station.simulated import VISIT
from labctl.station.stand_ins import require_sockets, with_stand_ins
from labctl.station.twin_links import can_fail, link_of, loopback, serving_of
from labctl.station.twin_wiring import crosspoints_of, probe, wiring_of
from sim_backend.chip import ChipDie
from sim_backend.die import SimDie
from sim_backend.emulators.board import BoardNeedles, Exchanging, OnNeedles, SimulatedBoard
from sim_backend.emulators.clock import Clock, EmulatorTiming, VirtualClock
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.link import Instrument
from sim_backend.emulators.safety_audit import SafetyAudit
from sim_backend.emulators.sentio_model import StationMap
from sim_backend.emulators.serve import Server
from sim_backend.emulators.world import World
from sim_backend.faults.layer import Faults, FaultyInstrument
from sim_backend.faults.libraries import inject
from sim_backend.faults.listed import ListedFaults


class Twin:
    """Emulated instruments of one bench around simulated dies; close it after use.

    Args:
        dies: the die at each (column, row, subsite) of the prober; without a prober there is one.
        sockets: serve the instruments on 127.0.0.1 and connect through VISA, instead of in this process.
        seed: of the instruments' noise.
        in_contact: the needles stand on the first die; without a prober they always do.
        clock: None is a virtual clock, which moves only when an instrument takes time.
        subsites: the prober's table of subsites.
        visited: places of the prober's map that have no die.
        faults: what happens to the messages of instruments that speak in lines; None for nothing.
        every_way: serve each instrument in every way that there is, and not only as the bench file reaches it.
    """

    def __init__(
        self,
        bench: AnyBench,
        dies: Mapping[Spot, SimDie | ChipDie],
        *,
        sockets: bool = False,
        seed: int = 0,
        in_contact: bool = False,
        clock: Clock | None = None,
        subsites: Sequence[Subsite] = (),
        visited: Collection[tuple[int, int]] = (),
        faults: Faults | None = None,
        every_way: bool = False,
    ) -> None:
        bench, self.dies = with_stand_ins(bench), dict(dies)
        if sockets:
            require_sockets(bench)
        moved = any(
            entry.kind is DriverKind.PROBER and entry.declaration.wire is not Wire.OPERATOR
            for entry in bench.instruments.values()
        )
        exchanged = isinstance(bench, BoardBench) and bench.exchange is Exchange.BY_HAND
        if not moved and not exchanged and len(self.dies) != 1:
            raise BenchError(f"{len(self.dies)} dies and no prober that moves; a bench without one tests a single die")
        if not moved and not exchanged:
            self.dies = {(0, 0, 0): next(iter(self.dies.values()))}
        if isinstance(bench, Bench):
            for die in self.dies.values():
                probe(bench, die)
        places = {(x, y) for x, y, _ in self.dies} | set(visited)
        table = tuple((s.name, s.x * 1e6, s.y * 1e6) for s in subsites)
        station = StationMap(tuple(sorted(places, key=lambda p: (p[1], p[0]))), max(1, len(table)), table=table)
        timing = bench.timing if isinstance(bench, Bench) else BenchTiming()
        shared = {f: getattr(timing, f) for f in type(timing).model_fields}
        self.world = World(
            wiring_of(bench),
            self._under_needles if isinstance(bench, Bench) else lambda x, y, site: None,
            clock=clock or VirtualClock(),
            timing=EmulatorTiming(**shared),
            place=next(iter(self.dies)),
            in_contact=in_contact or not moved,
        )
        self._on_board: SimDie | ChipDie = next(iter(self.dies.values()))
        self._in_place: list[SimulatedBoard] = []
        """What is in place of a board without an emulator."""
        self.instruments: dict[str, Instrument] = {}
        self._inside: dict[str, Any] = {}
        """What drivers without a wire talk to."""
        if isinstance(bench, BoardBench) and bench.prober is not None:
            self.world.boards = BoardNeedles(self.dies.get, lambda: self._boards)
        context = EmulatorContext(
            self.world,
            station,
            ideal=bench.twin.ideal_instruments,
            offset=bench.twin.offset,
            gain=bench.twin.gain,
        )

        def at(name: str, noise: int) -> EmulatorContext:
            return replace(context, crosspoints=crosspoints_of(bench, name), seed=noise)

        anew = {
            name: partial(self._emulate, name, entry, at(name, seed + 16 * number))
            for number, (name, entry) in enumerate(bench.instruments.items())
        }
        made = {name: make() for name, make in anew.items()}
        self.instruments = {name: one for name, one in made.items() if isinstance(one, Instrument)}
        self._inside = {name: one for name, one in made.items() if one is not None and name not in self.instruments}
        boards = {name for name, entry in bench.instruments.items() if entry.kind is DriverKind.BOARD}
        fixed = [name for name in boards if made[name] is not None and not isinstance(made[name], Exchanging)]
        if exchanged and fixed:
            raise BenchError(f"{', '.join(fixed)}: its emulator has one die, and dies are exchanged in this bench")
        fixed = [name for name in boards if made[name] is not None and not isinstance(made[name], OnNeedles)]
        if self.world.boards is not None and fixed:
            raise BenchError(f"{', '.join(fixed)}: its emulator has one die, and a prober brings others in this bench")
        self.faults, self._anew = faults, anew
        if isinstance(faults, ListedFaults):
            for name, inside in self._inside.items():
                inject(faults, name, inside)
        replies: dict[str, bytes] = {}
        self._reached = dict(self.instruments)
        """What is connected to: the instruments, or the layer of faults before them."""
        for name, instrument in self.instruments.items():
            if faults is not None and can_fail(bench.instruments[name], instrument):
                current = partial(self.instruments.__getitem__, name)
                self._reached[name] = FaultyInstrument(faults, current, partial(self.power_cycle, name), replies)
        self.server: Server | None = None
        if sockets:
            serving, buses = serving_of(bench, every_way=every_way)
            self.server = Server(self._reached.values(), serving, buses)

    def _emulate(self, name: str, entry: Entry, context: EmulatorContext) -> Any:
        """Return what the driver of an entry names as its emulator, around the die that is there now.

        None for one that a person moves, or a board.

        It is an instrument for a driver with a wire, and for one that brings its own connection what it talks to.
        """
        emulator = entry.emulator
        if emulator is None:
            return None
        named, options = emulator
        plugin = plugins.find(plugins.EMULATORS, named)
        make = plugin.load()
        try:
            made = make(name, options, replace(context, die=self._on_board))
        except LabError:
            raise
        except Exception as error:
            raise BenchError(
                f"{name}: emulator '{plugin.name}' of {plugin.origin} failed: {type(error).__name__}: {error}"
            ) from error
        if entry.declaration.wire is not Wire.NONE and not isinstance(made, Instrument):
            raise BenchError(f"{name}: emulator '{plugin.name}' of {plugin.origin} made {made!r}, no instrument")
        self._tell(made)
        return made

    @property
    def _boards(self) -> list[Any]:
        """Everything emulated, boards among it."""
        return [*self.instruments.values(), *self._inside.values(), *self._in_place]

    def _tell(self, made: Any) -> None:
        """Tell a board that was made just now where its needles are."""
        if self.world.boards is not None and isinstance(made, OnNeedles):
            self.world.boards.tell(made, self.world.place, self.world.in_contact)

    def _under_needles(self, x: int, y: int, site: int) -> SimDie | None:
        """Return the die at a spot; BenchError if needles cannot reach its lines."""
        die = self.dies.get((x, y, site))
        if die is not None and not isinstance(die, SimDie):
            raise BenchError(f"die {die.name} is an integrated chip, driven by its own board; needles do not reach it")
        return die

    def at(self, spot: Spot) -> SimDie | ChipDie:
        """Return the die at a spot of the map; without a prober, the one die."""
        return self.dies[spot] if spot in self.dies else next(iter(self.dies.values()))

    def truth(self, spot: Spot) -> dict[str, Any]:
        """Return the true state of the die at a spot."""
        with self.world.lock:
            return self.at(spot).truth()

    def insert(self, spot: Spot) -> str:
        """Put the die of a spot onto the board, as a person would; return what stands on it."""
        self._on_board = die = self.at(spot)
        with self.world.lock:
            for board in (*self.instruments.values(), *self._in_place):
                if isinstance(board, Exchanging):
                    board.put(die)
        return die.name

    def seek(self, spot: Spot, operation: int) -> None:
        """Set the random streams of the die at a spot and of the instruments to the number of an operation.

        From then on they depend on that number and not on what happened before, such as a second contact check.
        """
        with self.world.lock:
            if self.faults is not None:
                self.faults.reach(operation % (1 << VISIT) // 2)
            self.world.settle()
            self.at(spot).seek(operation)
            for instrument in self.instruments.values():
                instrument.seek(operation)
            for inside in self._inside.values():
                if hasattr(inside, "seek"):
                    inside.seek(operation)

    def seek_ahead(self, spot: Spot, operation: int) -> Callable[[], None]:
        """Do the same; there is nothing to wait for then."""
        self.seek(spot, operation)
        return nothing

    def power_cycle(self, name: str) -> None:
        """Switch an instrument off and on: it has forgotten everything, and its outputs and relays are open."""
        with self.world.lock:
            self.instruments[name].power_off()
            self.instruments[name] = self._anew[name]()

    @property
    def ledger(self) -> SafetyAudit:
        """What the instruments have done to the dies so far."""
        return self.world.ledger

    def connect(self, name: str, entry: Entry) -> Any:
        """Return the transport of one instrument of the twin, or what a driver without a wire talks to.

        A simulated die is in place of a board without an emulator.
        """
        if name in self._inside:
            return self._inside[name]
        if entry.kind is DriverKind.BOARD and name not in self.instruments:
            board = SimulatedBoard(name, entry.planned, entry.driver, next(iter(self.dies.values())))
            self._in_place.append(board)
            self._tell(board)
            return InPlace(board)
        if self.server is None:
            wait = None if self.faults is None else self.wait
            session = self._reached[name].session()
            return BytesTransport(session, name, wait=wait, sleep=self.wait, **link_of(entry))
        return loopback(self.server.resource(name), name, entry, self.wait)

    def wait(self, seconds: float) -> None:
        """Let a time pass on the twin's clock, s."""
        with self.world.lock:
            self.world.advance(seconds)

    def close(self) -> None:
        """Stop serving."""
        if self.server is not None:
            self.server.close()
