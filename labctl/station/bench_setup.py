"""Connect to a bench, or to its twin, with the dies that are tested on it."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from instruments.board_bench import AnyBench, BoardBench
from instruments.drivers import Connect, reaches_several, visa
from instruments.manual_prober import Ask, TypeIn
from instruments.open_bench import open_bench, planned_die
from instruments.open_board import open_board
from instruments.told_apart import require_told_apart
from instruments.transport import Log
from labctl.core.errors import BenchError
from labctl.core.fiducial import Fiducial
from labctl.core.site import Site, Spot
from labctl.core.units import Kelvin, Second
from labctl.station.bench_session import AnyTwin, ByHand, OnBench
from labctl.station.board_session import OnBoard
from labctl.station.simulated import simulated
from labctl.station.stand_ins import with_stand_ins
from labctl.station.twin import Twin
from labctl.storage.filesystem import check_place
from labctl.storage.latch import permit
from labctl.storage.stress_ledger import VARIABLE, StressLedger
from sim_backend.faults.layer import Faults
from sim_backend.faults.listed import ListedFaults

Through = Callable[[Connect], Connect]
"""From a function that connects to an instrument to one that records what is sent and received."""


def as_it_is(connect: Connect) -> Connect:
    """Return the function that connects to an instrument as it is: nothing is recorded."""
    return connect


def _open_ledger(ledger: Path) -> StressLedger:
    """Open the ledger of real dies; BenchError if it is not on a disk of this computer."""
    try:
        check_place(ledger.parent)
    except BenchError as error:
        where = f"name another place with {VARIABLE} or 'ledger' in the bench file"
        raise BenchError(f"the stress ledger cannot be {ledger}; {where}: {error}") from error
    return StressLedger.open(ledger)


def twin_of(
    bench: AnyBench,
    subjects: Sequence[Site],
    sim: str,
    *,
    by_hand: bool = False,
    others: Sequence[Site] = (),
    visited: Collection[tuple[int, int]] = (),
    faults: Faults | None = None,
) -> Twin:
    """Return the twin of a bench around simulated `subjects`; arguments as of `on_bench` and `Twin`."""
    if sim not in ("bytes", "tcp"):
        raise BenchError(f"--sim {sim}: expected bytes or tcp")
    sites: dict[Spot, Site] = {}
    for subject in (*subjects, *(others if reaches_several(bench) else ())):
        if subject.spot in sites:
            raise BenchError(f"dies {sites[subject.spot].name} and {subject.name} are both at {subject.at} of the map")
        sites[subject.spot] = subject
    return Twin(
        bench,
        {spot: simulated(s) for spot, s in sites.items()},
        subsites=subjects[0].subsites,
        visited=visited,
        sockets=sim == "tcp",
        seed=subjects[0].seed,
        in_contact=by_hand,
        faults=faults,
    )


def on_bench(
    bench: AnyBench,
    subjects: list[Site],
    sim: str | None,
    *,
    ask: Ask | None = None,
    type_in: TypeIn = lambda question: "",
    log: Callable[[str], Log] | None = None,
    by_hand: bool = False,
    others: Sequence[Site] = (),
    visited: Collection[tuple[int, int]] = (),
    ledger: Path | None = None,
    twin: AnyTwin | None = None,
    through: Through = as_it_is,
) -> OnBench | OnBoard:
    """Connect to a bench, or to its twin around simulated `subjects`; nothing moves and no output changes.

    The latch of a real bench is read before it is connected and before every operation.

    Args:
        sim: None for the real bench; "bytes" or "tcp" for the twin.
        type_in: has the operator type or scan what a die is called.
        by_hand: nothing moves and no die is exchanged; in the twin, the needles stand on the first die.
        others: dies of the wafer that are not tested, which the twin has as well.
        visited: places without a die to which the prober goes as well.
        ledger: file that counts the touches of real dies.
        twin: an existing twin; None makes one.
        through: makes the function that connects to an instrument another one, which records.

    Raises:
        BenchError: file and instruments do not fit, equal instruments of a real bench could be exchanged unseen, an
            output is on, or the ledger is on a disk of another computer.
        InstrumentError: an instrument does not answer.
        SwitchedOff: the latch of the bench is set.
    """
    first, body = subjects[0].description, ByHand if by_hand else OnBench
    if isinstance(bench, BoardBench):
        if sim is None:
            touched = None if ledger is None or bench.prober is None else _open_ledger(ledger)
            with _closed_on_error(touched):
                opened_board = open_board(bench, connect=through(visa(log)), ask=ask, permit=permit(bench))
            return OnBoard(opened_board, None, type_in=type_in, by_hand=by_hand, ledger=touched)
        twin = twin or twin_of(bench, subjects, sim, by_hand=by_hand, others=others, visited=visited)
        return _on_twin_of_board(bench, twin, through, by_hand)
    if sim is None:
        require_told_apart(bench, planned_die(bench, first.nominal))
        stress_ledger = None if ledger is None else _open_ledger(ledger)
        with _closed_on_error(stress_ledger):
            opened = open_bench(
                bench,
                first.nominal,
                connect=through(visa(log)),
                polarity=first.polarity,
                ask=ask,
                permit=permit(bench),
            )
        return body(bench, opened, None, stress_ledger)
    if twin is None:
        twin = twin_of(bench, subjects, sim, by_hand=by_hand, others=others, visited=visited)
    try:
        opened = open_bench(
            with_stand_ins(bench),
            first.nominal,
            connect=through(twin.connect),
            polarity=first.polarity,
            ask=ask or (lambda text: True),
            wait=twin.wait,
        )
    except BaseException:
        twin.close()
        raise
    return body(with_stand_ins(bench), opened, twin)


@contextmanager
def _closed_on_error(ledger: StressLedger | None) -> Iterator[None]:
    """Close a ledger if the block raises."""
    try:
        yield
    except BaseException:
        if ledger is not None:
            ledger.close()
        raise


def on_replies(bench: AnyBench, subject: Site, connect: Connect, *, simulated: bool) -> OnBench | OnBoard:
    """Connect by hand to a bench whose instruments are recorded replies; no latch is read and no time passes.

    Args:
        simulated: they were recorded on the twin of the bench, with its stand-ins.
    """
    bench, first = with_stand_ins(bench) if simulated else bench, subject.description
    if isinstance(bench, BoardBench):
        return OnBoard(open_board(bench, connect=connect, ask=lambda text: True), None, by_hand=True)
    opened = open_bench(
        bench,
        first.nominal,
        connect=connect,
        polarity=first.polarity,
        ask=lambda text: True,
        wait=lambda seconds: None,
    )
    return ByHand(bench, opened, None)


def _on_twin_of_board(bench: BoardBench, twin: AnyTwin, through: Through, by_hand: bool) -> OnBoard:
    """Connect to the twin of a board; the twin is closed if that fails."""
    stands_in = with_stand_ins(bench)
    try:
        opened = open_board(stands_in, connect=through(twin.connect), ask=lambda text: True)
        return OnBoard(opened, twin, by_hand=by_hand)
    except BaseException:
        twin.close()
        raise


@dataclass(frozen=True)
class Station:
    """A bench and the dies that are tested on it; picklable, for the process that owns the bench.

    Args:
        others: dies of the wafer that are not tested.
        fiducials: places at which the map of the wafer is verified.
        sim: None for the real bench; "bytes" or "tcp" for its twin, which has generic instruments in place of those
            without an emulator.
        ledger: file that counts the touches of real dies.
        injected: faults are injected into the twin.
        temperature: of the dies, to which the chuck is set where the bench file asks for it, K.
        slot: of the cassette that the wafer comes from; None if it is on the chuck.
    """

    bench: AnyBench
    subjects: tuple[Site, ...]
    others: tuple[Site, ...] = ()
    fiducials: tuple[Fiducial, ...] = ()
    sim: str | None = None
    ledger: Path | None = None
    injected: bool = False
    temperature: Kelvin | None = None
    slot: int | None = None

    def __post_init__(self) -> None:
        if self.injected and self.sim is None:
            raise BenchError("faults are never injected into a real bench")
        if self.sim is not None:
            object.__setattr__(self, "bench", with_stand_ins(self.bench))

    def twin(self) -> Twin | None:
        """Return a new twin of the bench; None for the real bench."""
        if self.sim is None:
            return None
        visited = [f.at for f in self.fiducials]
        faults = ListedFaults() if self.injected else None
        return twin_of(self.bench, self.subjects, self.sim, others=self.others, visited=visited, faults=faults)

    @contextmanager
    def opened(
        self,
        ask: Ask,
        twin: AnyTwin | None,
        type_in: TypeIn = lambda question: "",
        lease: Callable[[Second], None] = lambda seconds: None,
    ) -> Iterator[OnBench | OnBoard]:
        """Connect to the bench or its `twin`, have the wafer of the slot on the chuck, verify the map at the fiducials
        if there are some, at the temperature of the campaign, and leave it safe.

        Args:
            lease: called with the longest time that what follows takes, s.
        """
        operator = None if self.sim else ask
        with on_bench(
            self.bench,
            list(self.subjects),
            self.sim,
            ask=operator,
            type_in=type_in,
            others=self.others,
            ledger=self.ledger,
            twin=twin,
        ) as body:
            body.temperature = self.temperature
            if self.slot is not None:
                lease(body.loading_patience)
                body.load(self.subjects[0].wafer, self.slot, operator or (lambda text: True))
            if self.fiducials:
                lease(body.patience)
                body.prove(self.fiducials, (*self.subjects, *self.others))
            yield body
