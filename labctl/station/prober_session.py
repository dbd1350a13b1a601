"""What a session does by its prober, whatever drives the pads: wafer, temperature, the way to a die, its bin."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from instruments.before_a_die import arrive, clean_for_contact, held, loaded
from instruments.fiducial import FiducialResult, Ground, prove
from instruments.touches import Footing, lift, touch_down
from labctl.core.body import Say
from labctl.core.die_state import State
from labctl.core.errors import BenchError
from labctl.core.fiducial import Fiducial
from labctl.core.prober import BinMap, Heating, Loading, Prober
from labctl.core.site import Site
from labctl.core.units import Kelvin, Ohm, Second
from labctl.storage.stress_ledger import StressLedger

VISITED: Second = 300.0
"""Longest time of an approach, or in which a board takes another die, without heating."""


class Named(Protocol):
    """A bench by its name."""

    @property
    def name(self) -> str:
        """What its file calls it."""
        ...


class Opened(Protocol):
    """A bench of sources, or a board, that is connected."""

    @property
    def bench(self) -> Named:
        """Its bench file."""
        ...

    @property
    def prober(self) -> Prober | None:
        """Moves the needles; None without."""
        ...

    @property
    def permit(self) -> Callable[[], None]:
        """Raises when the bench is switched off."""
        ...

    def off(self) -> None:
        """Switch everything off, verified."""
        ...


OpenedT = TypeVar("OpenedT", bound=Opened)


class ProberSession(ABC, Generic[OpenedT]):
    """A session at a bench that may have a prober.

    Args:
        wait: waits for a time, s.
        ledger: counts every touch over the lives of dies; None for simulated dies, and without a prober.
    """

    def __init__(self, opened: OpenedT, wait: Callable[[Second], None], ledger: StressLedger | None) -> None:
        self.opened, self._wait, self._ledger = opened, wait, ledger
        self.temperature: Kelvin | None = None
        """To which the chuck is set where the bench file asks for it; None: as it is."""
        self._wafer: dict[str, Any] = {}
        self._fiducials: list[FiducialResult] = []

    @abstractmethod
    def _footing(self) -> Footing[Mapping[Any, Ohm]]:
        """Return what drives the pads of the die that the bench was turned to last."""
        ...

    def _moved_patience(self) -> Second:
        """Return the longest time of an approach without people, s."""
        prober = self.opened.prober
        return VISITED + (prober.heating_patience if isinstance(prober, Heating) else 0.0)

    # -- the wafer

    @property
    def loading_patience(self) -> Second:
        """Longest time of having a wafer on the chuck, s."""
        prober = self.opened.prober
        return VISITED + (prober.loading_patience if isinstance(prober, Loading) else 0.0)

    def load(self, wafer: str, slot: int, ask: Callable[[str], bool]) -> None:
        """Have a wafer on the chuck, by the prober or by a person; it is recorded with each die.

        Raises:
            BenchError: the bench has no prober.
            ContactError: nobody says that it is there.
            InstrumentError: the prober has another wafer, or refuses.
        """
        prober = self.opened.prober
        if prober is None:
            raise BenchError(f"the campaign says slot {slot}, and the bench '{self.opened.bench.name}' has no prober")
        self._wafer = loaded(self._footing(), prober, wafer, slot, ask)

    def _prove(self, ground: Ground, prober: Prober, fiducials: Sequence[Fiducial], dies: Iterable[Site]) -> None:
        """Verify at fiducials, at the temperature of the dies, that the map lies where the prober assumes it.

        Args:
            dies: all of the wafer, tested or not.

        Raises:
            BenchError, ContactError: as `instruments.fiducial.prove`.
            InstrumentError: the chuck does not settle.
        """
        held(self._footing(), prober, self.temperature, self._wait, self.opened.permit)
        sites = list(dies)
        first = {s.at: s for s in reversed(sites) if s.spot[2] == 0}
        self._fiducials = prove(
            ground,
            prober,
            fiducials,
            {s.at for s in sites},
            {f.at: self._touches(first[f.at]) for f in fiducials if f.at in first},
            lambda spot: self._touching(first.get(spot)),
        )

    # -- a die

    def _touch(self, subject: Site, prober: Prober, say: Say, record: dict[str, Any]) -> None:
        """Bring a die under the needles, and have them touch with contact.

        Args:
            record: facts of the approach; what was done is added.

        Raises:
            ContactError: no contact after the touches that are allowed.
            InstrumentError: the prober refuses, or is not where it was told to be.
        """
        say(State.MOVING)
        footing, cleaned = self._footing(), list[str]()
        at = (*subject.at, *(() if subject.subsite is None else (subject.subsite,)))
        record |= {"wafer": self._wafer} if self._wafer else {}
        record |= held(footing, prober, self.temperature, self._wait, self.opened.permit)
        place = arrive(footing, prober, at, cleaned)
        say(State.CONTACT_CHECK)

        def again() -> None:
            say(State.RETOUCH)
            clean_for_contact(footing, prober, at, cleaned)
            say(State.CONTACT_CHECK)

        before = self._touches(subject)
        touched = touch_down(footing, prober, before, retouching=again, touching=lambda: self._touching(subject))
        record |= {
            "place": [place.col, place.row],
            "touches": touched.touches,
            "contact_resistance": by_pads(touched.resistance),
        }
        if cleaned:
            record["cleaned"] = cleaned
        if self._fiducials:
            record["fiducials"], self._fiducials = [_fiducial_json(fiducial) for fiducial in self._fiducials], []

    def _lift(self) -> None:
        """Lift the needles, if there are some."""
        if self.opened.prober is not None:
            lift(self._footing(), self.opened.prober)

    def mark(self, subject: Site, hard: int) -> None:
        """Show the bin of a die on the prober's own map, where the bench file asks for it.

        Raises:
            InstrumentError: the prober does not take it.
        """
        prober = self.opened.prober
        if isinstance(prober, BinMap) and prober.bins_on_map:
            prober.set_bin(*subject.at, subject.subsite, hard)

    # -- its touches

    def _touches(self, subject: Site) -> int:
        """Return how often the needles of this bench have touched a die before."""
        return 0 if self._ledger is None else self._ledger.touches(*self._key(subject))

    def _touching(self, subject: Site | None) -> None:
        """Count a touch that is about to happen, of None where there is no die."""
        if self._ledger is not None and subject is not None:
            self._ledger.touch(*self._key(subject))

    def _key(self, subject: Site) -> tuple[str, str, str]:
        return subject.wafer, subject.serial, self.opened.bench.name


def by_pads(resistance: Mapping[Any, Ohm]) -> dict[str, Ohm]:
    """Return resistances of lines, or of pairs of pads by both names, as a journal holds them.

    >>> by_pads({("r00", "c01"): 2400.0}), by_pads({"row r00": 2400.0})
    ({'r00-c01': 2400.0}, {'row r00': 2400.0})
    """
    return {pads if isinstance(pads, str) else "-".join(pads): ohm for pads, ohm in resistance.items()}


def _fiducial_json(fiducial: FiducialResult) -> dict[str, Any]:
    """Return the measurement at a fiducial as a journal holds it."""
    return {"at": list(fiducial.at), "touches": fiducial.touches, "resistance": dict(fiducial.resistance)}
