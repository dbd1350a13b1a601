"""Where a die comes from: made by the simulation, or brought under the needles of a bench or of its twin.

This is the only place that knows which; everything above sees a die.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from instruments.assemble import OpenBench, open_bench
from instruments.bench import Bench
from instruments.contact import check_contact, lift, touch_down
from instruments.drivers import visa
from instruments.fiducial import Fiducial, Found, prove
from instruments.manual_prober import Ask
from instruments.transport import Log
from labctl.core.die import Die
from labctl.core.die_state import State
from labctl.core.errors import BenchError, ContactError, InstrumentError, LabError
from labctl.core.instrument import Compensated
from labctl.core.prober import Subsite
from labctl.core.transport import Transport
from labctl.core.units import Ohm, Second
from labctl.execution.replay import Rebuild
from labctl.station.twin import Spot, Twin
from labctl.storage.filesystem import check_place
from labctl.storage.latch import permit
from labctl.storage.stress_ledger import VARIABLE, Ledger
from sim_backend.chip import ChipDie
from sim_backend.description import DieDescription
from sim_backend.die import SimDie
from sim_backend.make import make_die

_VISIT = 20
"""Bits that number the operations of one visit of a golden die; a journal has fewer."""


@dataclass(frozen=True)
class Subject:
    """A die as a campaign names it.

    Args:
        at: its (column, row) on the prober's map.
        seed: of the simulated world it lives in; a real die has none.
        wafer: what its wafer is called, "" if it has none.
        subsite: the spot of the die at `at` where it is, None for the only one.
        subsites: all spots of that die.
        excluded: why the campaign leaves it out, "" if it does not.
    """

    name: str
    description: DieDescription
    seed: int
    at: tuple[int, int] = (0, 0)
    wafer: str = ""
    subsite: Subsite | None = None
    subsites: tuple[Subsite, ...] = ()
    excluded: str = ""

    @property
    def die(self) -> str:
        """Name of the die that it is, or of which it is a subsite."""
        return self.name if self.subsite is None else self.name.removesuffix(f"-{self.subsite.name}")

    @property
    def serial(self) -> str:
        """What it is called however often it is visited: "A@2", the second visit of a golden die, is die "A"."""
        return self.name.partition("@")[0]

    @property
    def visit(self) -> int:
        """Number of the visit of a golden die; 0 for any other die."""
        return int(self.name.partition("@")[2] or 0)

    @property
    def spot(self) -> Spot:
        """(column, row, number of the subsite) on the prober's map."""
        return (*self.at, 0 if self.subsite is None else self.subsite.number)

    def split(self, subsites: Iterable[Subsite]) -> "Iterator[Subject]":
        """Yield what the campaign tests here: the die, or what is at each of its subsites."""
        found = tuple(subsites)
        if not found:
            yield self
        for spot in found:
            yield replace(self, name=f"{self.name}-{spot.name}", subsite=spot, subsites=found)

    @property
    def alike(self) -> tuple[Any, ...]:
        """What a plan depends on: dies that have this in common take the same time and the same operations."""
        d = self.description
        return d.shape, d.nominal, d.simulation.timing.model_dump_json()

    def simulated(self) -> SimDie | ChipDie:
        """Return the simulated die; at each visit of a golden one as it was made, and with noise of its own."""
        die = make_die(self.description, seed=self.seed, name=self.serial)
        if self.visit:
            die.begin(self.visit << _VISIT)
        return die


Truth = Callable[[], dict[str, Any]]
Say = Callable[[State], None]
"""Told where a die stands on the way to its first operation."""


def _quiet(state: State) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Approached:
    """A die that is ready.

    Args:
        noted: what was noted on the way there.
        truth: what a simulated one really holds; None for a real one.
        mark: called with the number of every operation before it is done, for a simulated world that numbers its
            luck by it; a real one has no use for it.
    """

    die: Die
    noted: dict[str, Any] = field(default_factory=dict)
    truth: Truth | None = None
    mark: Callable[[int], None] = lambda number: None


class Body(Protocol):
    """What gives dies."""

    @property
    def rebuild(self) -> Rebuild:
        """What has to be done again to a die of this body when a run is resumed."""
        ...

    @property
    def patience(self) -> Second:
        """Longest time that `approach` takes if nothing hangs, s; infinite where a person is asked."""
        ...

    def approach(self, subject: Subject, say: Say = _quiet) -> Approached:
        """Return the die, ready; `say` is told of moving, of contact checks and of new touches."""
        ...

    def leave(self) -> None:
        """Be done with the die: outputs verified off, needles up."""
        ...


class Simulated:
    """The simulated die by itself: array maths, no instruments."""

    rebuild = Rebuild.BITS
    patience: Second = 60.0

    def approach(self, subject: Subject, say: Say = _quiet) -> Approached:
        """Make the die."""
        die = subject.simulated()
        return Approached(die, truth=die.truth)

    def leave(self) -> None:
        """Do nothing; there is nothing to leave."""


class LeftUnverified(InstrumentError):
    """A bench was left and could not be verified safe; somebody has to go there."""

    exit_code = 6


class AnyTwin(Protocol):
    """A twin, in this process or in another one."""

    def connect(self, name: str, entry: Any) -> Transport:
        """Return the wire to one instrument."""
        ...

    def wait(self, seconds: float) -> None:
        """Let a time pass on the twin's clock."""
        ...

    def truth(self, spot: Spot) -> dict[str, Any]:
        """Return what the die at a spot really holds."""
        ...

    def mark(self, spot: Spot, operation: int) -> None:
        """Number luck and noise anew, for an operation's number."""
        ...

    def close(self) -> None:
        """Be done with it."""
        ...


class OnBench:
    """A bench or its twin; a context that ends safe.

    Args:
        twin: None for the real bench.
        ledger: counts every touch over the lives of dies; None for simulated ones.
    """

    def __init__(self, bench: Bench, opened: OpenBench, twin: AnyTwin | None, ledger: Ledger | None = None) -> None:
        self.bench, self.opened, self.twin, self._ledger = bench, opened, twin, ledger
        self.anew = twin is not None
        """Whether the die that is approached next has forgotten what was done to it, as dies of a new twin have."""
        self._proved: list[Found] = []

    @property
    def rebuild(self) -> Rebuild:
        """A real die keeps its cells; those of a new twin are made anew."""
        return Rebuild.STATES if self.anew else Rebuild.NOTHING

    @property
    def patience(self) -> Second:
        """Of a prober that moves, of a person, or of nobody."""
        return math.inf if getattr(self.opened.prober, "by_hand", False) else 300.0

    def approach(self, subject: Subject, say: Say = _quiet) -> Approached:
        """Bring `subject` under the needles and have contact.

        Raises:
            ContactError: no contact after the touches that are allowed.
            InstrumentError: something did not answer, or not as it should.
        """
        opened, description = self.opened, subject.description
        self.bench.wiring.fits(description.shape)
        die = opened.turn_to(description.nominal, description.polarity)
        noted: dict[str, Any] = {"identities": dict(opened.identities)}
        if opened.prober is not None:
            say(State.MOVING)
            spot = () if subject.subsite is None else (subject.subsite,)
            die.land()
            place = opened.prober.step(*subject.at, *spot)
            say(State.CONTACT_CHECK)

            def again() -> None:
                say(State.RETOUCH)
                say(State.CONTACT_CHECK)

            before, touching = self._touches(subject), partial(self._touching, subject)
            touched = touch_down(die, opened.prober, before, retouching=again, touching=touching)
            noted |= {
                "place": [place.col, place.row],
                "touches": touched.touches,
                "contact_resistance": _by_pads(touched.resistance),
            }
            if self._proved:
                noted["fiducials"], self._proved = [_said(found) for found in self._proved], []
        return self._ready(die, subject, noted)

    def _ready(self, die: Die, subject: Subject, noted: dict[str, Any]) -> Approached:
        if self.twin is None:
            return Approached(die, noted)
        twin, spot, first = self.twin, subject.spot, subject.visit << _VISIT
        return Approached(die, noted, partial(twin.truth, spot), lambda number: twin.mark(spot, first + number))

    def _touches(self, subject: Subject) -> int:
        """Return how often these needles have touched a die before."""
        return 0 if self._ledger is None else self._ledger.touches(subject.wafer, subject.serial, self.bench.name)

    def _touching(self, subject: Subject | None) -> None:
        """Count a touch that is about to happen."""
        if self._ledger is not None and subject is not None:
            self._ledger.touch(subject.wafer, subject.serial, self.bench.name)

    def prove(self, fiducials: Sequence[Fiducial], subjects: Iterable[Subject]) -> list[Found]:
        """Prove on the wafer that the map is where the prober thinks it is; see `instruments.fiducial.prove`.

        What was found is noted with the first die that is approached.

        Args:
            subjects: everything that the wafer has, tested or not.

        Raises:
            BenchError: it is not, or nothing here moves.
            ContactError: nothing conducts anywhere.
        """
        if self.opened.prober is None:
            raise BenchError(f"the wafer has fiducials, and the bench '{self.bench.name}' has no prober to go there")
        every = list(subjects)
        first = {s.at: s for s in reversed(every) if s.spot[2] == 0}
        self._proved = prove(
            self.opened.die,
            self.opened.prober,
            fiducials,
            {s.at for s in every},
            {f.at: self._touches(first[f.at]) for f in fiducials if f.at in first},
            lambda spot: self._touching(first.get(spot)),
        )
        return self._proved

    def leave(self) -> None:
        """Have outputs verified off and needles up, lifted from pads as the bench file says they are left."""
        self.opened.off()
        if self.opened.prober is not None:
            lift(self.opened.die, self.opened.prober)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.opened.__exit__(kind, error, trace)
        except LabError as unsafe:
            raise LeftUnverified(f"the bench is left as it is, and was not verified safe: {unsafe}") from unsafe
        finally:
            if self._ledger is not None:
                self._ledger.close()
            if self.twin is not None:
                self.twin.close()


def _said(found: Found) -> dict[str, Any]:
    """Return what was found at a fiducial as a journal holds it."""
    return {"at": list(found.at), "touches": found.touches, "resistance": _by_pads(found.resistance)}


def _by_pads(resistance: Mapping[tuple[str, str], Ohm]) -> dict[str, Ohm]:
    """Return resistances by the names of their two pads, as a journal holds them."""
    return {f"{a}-{b}": ohm for (a, b), ohm in resistance.items()}


class ByHand(OnBench):
    """A bench that a person stands at: the needles stay where they are, down on a die, and so does the die."""

    def approach(self, subject: Subject, say: Say = _quiet) -> Approached:
        """Have the interface of the die under the needles, if they are in contact; ContactError if not.

        The first voltage is that of the contact check. Structures that do not conduct are noted where the chuck stands
        at contact height, and are no contact where it stands off it, as with a compensated station.
        """
        self.bench.wiring.fits(subject.description.shape)
        die = self.opened.turn_to(subject.description.nominal, subject.description.polarity)
        prober = self.opened.prober
        if prober is not None and not prober.in_contact():
            raise ContactError(
                f"{prober.name}: the needles are not in contact. By hand nothing moves; put them down, then try again"
            )
        noted: dict[str, Any] = {"identities": dict(self.opened.identities), "by_hand": True}
        try:
            noted["contact_resistance"] = _by_pads(check_contact(die))
        except ContactError as error:
            if isinstance(prober, Compensated) and not prober.at_contact_height():
                raise
            noted["no_contact"] = str(error)
        return self._ready(die, subject, noted)

    def leave(self) -> None:
        """Have outputs verified off and relays open; the needles stay."""
        self.opened.off()


def _passive(subject: Subject) -> SimDie:
    """Return the simulated die for the twin of a bench; BenchError if it is an integrated chip."""
    die = subject.simulated()
    if not isinstance(die, SimDie):
        raise BenchError(f"die {subject.name} is an integrated chip, driven by its own board; the twin has none")
    return die


def _kept(ledger: Path) -> Ledger:
    """Return the ledger of real dies, open; BenchError if it is not on a disk of this computer."""
    try:
        check_place(ledger.parent)
    except BenchError as error:
        where = f"name another place with {VARIABLE} or 'ledger' in the bench file"
        raise BenchError(f"the stress ledger cannot be {ledger}; {where}: {error}") from error
    return Ledger.open(ledger)


def twin_of(
    bench: Bench,
    subjects: Sequence[Subject],
    sim: str,
    *,
    by_hand: bool = False,
    others: Sequence[Subject] = (),
    visited: Collection[tuple[int, int]] = (),
) -> Twin:
    """Return the twin of a bench around simulated `subjects`; arguments as of `on_bench`."""
    if sim not in ("bytes", "tcp"):
        raise BenchError(f"--sim {sim}: expected bytes or tcp")
    taken: dict[Spot, Subject] = {}
    for subject in (*subjects, *others):
        if subject.spot in taken:
            raise BenchError(f"dies {taken[subject.spot].name} and {subject.name} are both at {subject.at} of the map")
        taken[subject.spot] = subject
    return Twin(
        bench,
        {spot: _passive(s) for spot, s in taken.items()},
        subsites=subjects[0].subsites,
        visited=visited,
        sockets=sim == "tcp",
        seed=subjects[0].seed,
        in_contact=by_hand,
    )


def on_bench(
    bench: Bench,
    subjects: list[Subject],
    sim: str | None,
    *,
    ask: Ask | None = None,
    log: Callable[[str], Log] | None = None,
    by_hand: bool = False,
    others: Sequence[Subject] = (),
    visited: Collection[tuple[int, int]] = (),
    ledger: Path | None = None,
    twin: AnyTwin | None = None,
) -> OnBench:
    """Connect to a bench, or to its twin around simulated `subjects`; nothing moves and no output changes.

    A real bench reads its latch before it is connected and before every operation.

    Args:
        sim: None for the real bench; "bytes" or "tcp" for the twin.
        by_hand: nothing will move; in the twin, the needles stand on the first die.
        others: dies of the wafer that are not tested, which the twin has as well.
        visited: places without a die to which the prober goes all the same.
        ledger: where the touches of real dies are counted.
        twin: one that is there already; None makes one.

    Raises:
        BenchError: file and what answers do not fit, an output is on, or the ledger is on a disk of another computer.
        InstrumentError: an instrument does not answer.
        SwitchedOff: the latch of the bench is set.
    """
    first, body = subjects[0].description, ByHand if by_hand else OnBench
    if sim is None:
        found = None if ledger is None else _kept(ledger)
        try:
            opened = open_bench(
                bench,
                first.nominal,
                connect=visa(log),
                polarity=first.polarity,
                ask=ask,
                permit=permit(bench),
            )
        except BaseException:
            if found is not None:
                found.close()
            raise
        return body(bench, opened, None, found)
    if twin is None:
        twin = twin_of(bench, subjects, sim, by_hand=by_hand, others=others, visited=visited)
    try:
        opened = open_bench(
            bench,
            first.nominal,
            connect=twin.connect,
            polarity=first.polarity,
            ask=ask or (lambda text: True),
            wait=twin.wait,
        )
    except BaseException:
        twin.close()
        raise
    return body(bench, opened, twin)


@dataclass(frozen=True)
class Station:
    """A bench and what is tested on it; picklable, for the process that owns it.

    Args:
        others: dies of the wafer that are not tested.
        fiducials: places at which the map of the wafer is proved.
        sim: None for the real bench; "bytes" or "tcp" for its twin.
        ledger: where the touches of real dies are counted.
    """

    bench: Bench
    subjects: tuple[Subject, ...]
    others: tuple[Subject, ...] = ()
    fiducials: tuple[Fiducial, ...] = ()
    sim: str | None = None
    ledger: Path | None = None

    def twin(self) -> Twin | None:
        """Return the twin of the bench, made anew; None for the real bench."""
        if self.sim is None:
            return None
        visited = [f.at for f in self.fiducials]
        return twin_of(self.bench, self.subjects, self.sim, others=self.others, visited=visited)

    @contextmanager
    def opened(self, ask: Ask, twin: AnyTwin | None) -> Iterator[OnBench]:
        """Connect to the bench or its `twin`, prove the map of the wafer if it can be, and leave it safe."""
        asked = None if self.sim else ask
        with on_bench(self.bench, list(self.subjects), self.sim, ask=asked, ledger=self.ledger, twin=twin) as body:
            if self.fiducials:
                body.prove(self.fiducials, (*self.subjects, *self.others))
            yield body
