"""Where a die comes from: made by the simulation, or brought under the needles of a bench or of its twin.

This is the only place that knows which; everything above sees a die.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from instruments.assemble import OpenBench, open_bench, visa
from instruments.bench import Bench
from instruments.contact import touch_down
from instruments.manual_prober import Ask
from instruments.transport import Log
from labctl.core.die import Die
from labctl.core.errors import BenchError, ContactError, InstrumentError, LabError
from labctl.twin import Twin
from sim_backend.chip import ChipDie
from sim_backend.description import DieDescription
from sim_backend.die import SimDie
from sim_backend.make import make_die


@dataclass(frozen=True)
class Subject:
    """A die as a campaign names it.

    Args:
        at: its (column, row) on the prober's map.
        seed: of the simulated world it lives in; a real die has none.
    """

    name: str
    description: DieDescription
    seed: int
    at: tuple[int, int] = (0, 0)

    @property
    def alike(self) -> tuple[Any, ...]:
        """What a plan depends on: dies that have this in common take the same time and the same operations."""
        d = self.description
        return d.shape, d.nominal, d.simulation.timing.model_dump_json()

    def simulated(self) -> SimDie | ChipDie:
        """Return the simulated die."""
        return make_die(self.description, seed=self.seed, name=self.name)


Truth = Callable[[], dict[str, Any]]


class Body(Protocol):
    """What gives dies."""

    def approach(self, subject: Subject) -> tuple[Die, Truth | None, dict[str, Any]]:
        """Return the die, ready; what a simulated one really holds; and what was noted on the way there."""
        ...

    def leave(self) -> None:
        """Be done with the die: outputs verified off, needles up."""
        ...


class Simulated:
    """The simulated die by itself: array maths, no instruments."""

    def approach(self, subject: Subject) -> tuple[Die, Truth | None, dict[str, Any]]:
        """Make the die."""
        die = subject.simulated()
        return die, die.truth, {}

    def leave(self) -> None:
        """Do nothing; there is nothing to leave."""


class LeftUnverified(InstrumentError):
    """A bench was left and could not be verified safe; somebody has to go there."""

    exit_code = 6


class OnBench:
    """A bench or its twin; a context that ends safe.

    Args:
        twin: None for the real bench.
    """

    def __init__(self, bench: Bench, opened: OpenBench, twin: Twin | None) -> None:
        self.bench, self.opened, self.twin = bench, opened, twin

    def approach(self, subject: Subject) -> tuple[Die, Truth | None, dict[str, Any]]:
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
            place = opened.prober.step(*subject.at)
            touched = touch_down(die, opened.prober)
            noted |= {
                "place": [place.col, place.row],
                "touches": touched.touches,
                "contact_resistance": {f"{a}-{b}": ohm for (a, b), ohm in touched.resistance.items()},
            }
        truth = None if self.twin is None else self.twin.at(subject.at).truth
        return die, truth, noted

    def leave(self) -> None:
        """Have outputs verified off and needles up."""
        self.opened.off()
        if self.opened.prober is not None:
            self.opened.prober.separate()

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
            if self.twin is not None:
                self.twin.close()


class ByHand(OnBench):
    """A bench that a person stands at: the needles stay where they are, down on a die, and so does the die."""

    def approach(self, subject: Subject) -> tuple[Die, Truth | None, dict[str, Any]]:
        """Have the interface of the die under the needles, if they are in contact; ContactError if not."""
        self.bench.wiring.fits(subject.description.shape)
        die = self.opened.turn_to(subject.description.nominal, subject.description.polarity)
        prober = self.opened.prober
        if prober is not None and not prober.in_contact():
            raise ContactError(
                f"{prober.name}: the needles are not in contact. By hand nothing moves; put them down, then try again"
            )
        truth = None if self.twin is None else self.twin.at(subject.at).truth
        return die, truth, {"identities": dict(self.opened.identities), "by_hand": True}

    def leave(self) -> None:
        """Have outputs verified off and relays open; the needles stay."""
        self.opened.off()


def _passive(subject: Subject) -> SimDie:
    """Return the simulated die for the twin of a bench; BenchError if it is an integrated chip."""
    die = subject.simulated()
    if not isinstance(die, SimDie):
        raise BenchError(f"die {subject.name} is an integrated chip, driven by its own board; the twin has none")
    return die


def on_bench(
    bench: Bench,
    subjects: list[Subject],
    sim: str | None,
    *,
    ask: Ask | None = None,
    log: Callable[[str], Log] | None = None,
    by_hand: bool = False,
) -> OnBench:
    """Connect to a bench, or to its twin around simulated `subjects`; nothing moves and no output changes.

    Args:
        sim: None for the real bench; "bytes" or "tcp" for the twin.
        by_hand: nothing will move; in the twin, the needles stand on the first die.

    Raises:
        BenchError: file and what answers do not fit.
        InstrumentError: an instrument does not answer.
    """
    first, body = subjects[0].description, ByHand if by_hand else OnBench
    if sim is None:
        opened = open_bench(bench, first.nominal, connect=visa(log), polarity=first.polarity, ask=ask)
        return body(bench, opened, None)
    if sim not in ("bytes", "tcp"):
        raise BenchError(f"--sim {sim}: expected bytes or tcp")
    taken: dict[tuple[int, int], Subject] = {}
    for subject in subjects:
        if subject.at in taken:
            raise BenchError(f"dies {taken[subject.at].name} and {subject.name} are both at {subject.at} of the map")
        taken[subject.at] = subject
    twin = Twin(
        bench,
        {s.at: _passive(s) for s in subjects},
        sockets=sim == "tcp",
        seed=subjects[0].seed,
        in_contact=by_hand,
    )
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
