"""Dies under the needles of a bench or of its twin: approach a die, check its contact, leave it safe."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

from instruments.before_a_die import arrive, clean_for_contact, held, loaded
from instruments.bench import Bench
from instruments.contact import Needles, check_contact, check_first_contact
from instruments.fiducial import FiducialResult, Ground, PadGround, fits, prove
from instruments.open_bench import OpenBench
from instruments.probed_die import ProbedDie
from instruments.touches import lift, touch_down
from labctl.core.body import ReadyDie, Say, _quiet
from labctl.core.die_state import State
from labctl.core.errors import BenchError, ContactError, LabError, LeftUnverified
from labctl.core.fiducial import Fiducial
from labctl.core.prober import BinMap, Compensated, Heating, Loading, Prober
from labctl.core.rebuild import Rebuild
from labctl.core.site import Site, Spot
from labctl.core.transport import Transport
from labctl.core.units import Kelvin, Ohm, Second
from labctl.station.simulated import VISIT
from labctl.storage.stress_ledger import StressLedger

VISITED: Second = 300.0
"""Longest time of an approach without heating."""


class AnyTwin(Protocol):
    """A twin, in this process or in another one."""

    def connect(self, name: str, entry: Any) -> Transport:
        """Return the transport of one instrument."""
        ...

    def wait(self, seconds: float) -> None:
        """Let a time pass on the twin's clock, s."""
        ...

    def truth(self, spot: Spot) -> dict[str, Any]:
        """Return the true state of the die at a spot."""
        ...

    def seek(self, spot: Spot, operation: int) -> None:
        """Set the random streams of die and instruments to the number of an operation."""
        ...

    def insert(self, spot: Spot) -> str:
        """Put the die of a spot onto the board, as a person would; return what stands on it."""
        ...

    def close(self) -> None:
        """Stop the twin."""
        ...


class OnBench:
    """A bench or its twin; leaving the context makes it safe.

    Args:
        twin: None for the real bench.
        ledger: counts every touch over the lives of dies; None for simulated dies.
    """

    def __init__(
        self, bench: Bench, opened: OpenBench, twin: AnyTwin | None, ledger: StressLedger | None = None
    ) -> None:
        self.bench, self.opened, self.twin, self._ledger = bench, opened, twin, ledger
        self.anew = twin is not None
        """Whether the next die is as it was made, as the dies of a new twin are."""
        self._fiducials: list[FiducialResult] = []
        self._wafer: dict[str, Any] = {}
        self.temperature: Kelvin | None = None
        """To which the chuck is set where the bench file asks for it; None: as it is."""

    @property
    def rebuild(self) -> Rebuild:
        """A real die keeps its cells; the cells of a new twin are made anew."""
        return Rebuild.STATES if self.anew else Rebuild.NOTHING

    @property
    def patience(self) -> Second:
        """Longest time of an approach, s; infinite where a person moves the needles."""
        prober = self.opened.prober
        heating = prober.heating_patience if isinstance(prober, Heating) else 0.0
        return math.inf if getattr(prober, "by_hand", False) else VISITED + heating

    def approach(self, subject: Site, say: Say = _quiet) -> ReadyDie:
        """Bring `subject` under the needles and make contact; without a prober it is there, and contact is checked.

        Raises:
            ContactError: no contact after the touches that are allowed.
            InstrumentError: an instrument did not answer, or answered something else than expected.
        """
        opened, description = self.opened, subject.description
        self.bench.wiring.fits(description.shape)
        die = opened.turn_to(description.nominal, description.polarity)
        record: dict[str, Any] = {"identities": dict(opened.identities), "calibrations": dict(opened.calibrations)}
        if opened.prober is not None:
            say(State.MOVING)
            prober, needles, cleaned = opened.prober, Needles(die), list[str]()
            at = (*subject.at, *(() if subject.subsite is None else (subject.subsite,)))
            record |= {"wafer": self._wafer} if self._wafer else {}
            record |= held(needles, prober, self.temperature, opened.wait, opened.permit)
            place = arrive(needles, prober, at, cleaned)
            say(State.CONTACT_CHECK)

            def again() -> None:
                say(State.RETOUCH)
                clean_for_contact(needles, prober, at, cleaned)
                say(State.CONTACT_CHECK)

            before, touching = self._touches(subject), partial(self._touching, subject)
            touched = touch_down(needles, prober, before, retouching=again, touching=touching)
            record |= {
                "place": [place.col, place.row],
                "touches": touched.touches,
                "contact_resistance": _by_pads(touched.resistance),
            }
            if cleaned:
                record["cleaned"] = cleaned
            if self._fiducials:
                record["fiducials"], self._fiducials = [fiducial_json(fiducial) for fiducial in self._fiducials], []
        else:
            record["contact_resistance"] = _by_pads(check_first_contact(die))
        return self._ready(die, subject, record)

    def _ready(self, die: ProbedDie, subject: Site, record: dict[str, Any]) -> ReadyDie:
        ready = ReadyDie(die, record, prove=lambda: _by_pads(check_contact(die)), warnings=self.opened.warnings)
        if self.twin is None:
            return ready
        twin, spot, first = self.twin, subject.spot, subject.visit << VISIT
        return replace(ready, truth=partial(twin.truth, spot), seek=lambda number: twin.seek(spot, first + number))

    def _touches(self, subject: Site) -> int:
        """Return how often the needles of this bench have touched a die before."""
        return 0 if self._ledger is None else self._ledger.touches(subject.wafer, subject.serial, self.bench.name)

    def _touching(self, subject: Site | None) -> None:
        """Count a touch that is about to happen."""
        if self._ledger is not None and subject is not None:
            self._ledger.touch(subject.wafer, subject.serial, self.bench.name)

    def prove(self, fiducials: Sequence[Fiducial], subjects: Iterable[Site]) -> list[FiducialResult]:
        """Verify at fiducials that the map lies where the prober assumes it; see `instruments.fiducial.prove`.

        The measurements are recorded with the first die that is approached.

        Args:
            subjects: all dies of the wafer, tested or not.

        Raises:
            BenchError: it does not, or the bench has no prober.
            ContactError: no structure conducts.
        """
        if self.opened.prober is None:
            raise BenchError(f"the wafer has fiducials, and the bench '{self.bench.name}' has no prober to go there")
        fits(self.bench, fiducials)
        ground = PadGround(self.opened.die)
        self._fiducials = prove_map(ground, self.opened.prober, fiducials, subjects, self._touches, self._touching)
        return self._fiducials

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
            raise BenchError(f"the campaign says slot {slot}, and the bench '{self.bench.name}' has no prober")
        self._wafer = loaded(Needles(self.opened.die), prober, wafer, slot, ask)

    def mark(self, subject: Site, hard: int) -> None:
        """Show the bin of a die on the prober's own map, where the bench file asks for it.

        Raises:
            InstrumentError: the prober does not take it.
        """
        prober = self.opened.prober
        if isinstance(prober, BinMap) and prober.bins_on_map:
            prober.set_bin(*subject.at, subject.subsite, hard)

    def leave(self) -> None:
        """Switch the outputs off, verified, and lift the needles as the bench file says."""
        self.opened.off()
        if self.opened.prober is not None:
            lift(Needles(self.opened.die), self.opened.prober)

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


def prove_map(
    ground: Ground,
    prober: Prober,
    fiducials: Sequence[Fiducial],
    subjects: Iterable[Site],
    touches: Callable[[Site], int],
    touching: Callable[[Site | None], None],
) -> list[FiducialResult]:
    """Verify at fiducials that the map lies where the prober assumes it.

    Args:
        subjects: all dies of the wafer, tested or not.
        touches: returns how often a die was touched before. touching: counts a touch, of None where there is no die.

    Raises:
        BenchError, ContactError: as `instruments.fiducial.prove`.
    """
    sites = list(subjects)
    first = {s.at: s for s in reversed(sites) if s.spot[2] == 0}
    return prove(
        ground,
        prober,
        fiducials,
        {s.at for s in sites},
        {f.at: touches(first[f.at]) for f in fiducials if f.at in first},
        lambda spot: touching(first.get(spot)),
    )


def fiducial_json(fiducial: FiducialResult) -> dict[str, Any]:
    """Return the measurement at a fiducial as a journal holds it."""
    return {"at": list(fiducial.at), "touches": fiducial.touches, "resistance": dict(fiducial.resistance)}


def _by_pads(resistance: Mapping[tuple[str, str], Ohm]) -> dict[str, Ohm]:
    """Return resistances by the names of their two pads, as a journal holds them."""
    return {f"{a}-{b}": ohm for (a, b), ohm in resistance.items()}


class ByHand(OnBench):
    """A bench used by hand: nothing moves, the needles stay down on the die that is under them."""

    def approach(self, subject: Site, say: Say = _quiet) -> ReadyDie:
        """Return the die under the needles if they are in contact; ContactError if not.

        The first voltage is that of the contact check. If the chuck is at contact height, structures that do not
        conduct are only recorded; off contact height, as on a compensated station, they mean that there is no contact.
        """
        self.bench.wiring.fits(subject.description.shape)
        die = self.opened.turn_to(subject.description.nominal, subject.description.polarity)
        prober = self.opened.prober
        if prober is not None and not prober.in_contact():
            raise ContactError(
                f"{prober.name}: the needles are not in contact. By hand nothing moves; put them down, then try again"
            )
        record: dict[str, Any] = {"identities": dict(self.opened.identities), "by_hand": True}
        record["calibrations"] = dict(self.opened.calibrations)
        if self.opened.old_errors:
            record["old_errors"] = {name: list(errors) for name, errors in self.opened.old_errors.items()}
        try:
            record["contact_resistance"] = _by_pads(check_first_contact(die))
        except ContactError as error:
            if isinstance(prober, Compensated) and not prober.at_contact_height():
                raise
            record["no_contact"] = str(error)
            return replace(self._ready(die, subject, record), prove=None)
        return self._ready(die, subject, record)

    def leave(self) -> None:
        """Switch the outputs off, verified, and open the relays; the needles stay."""
        self.opened.off()
