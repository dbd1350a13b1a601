"""Dies under the needles of a bench or of its twin: approach a die, check its contact, leave it safe."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

from instruments.bench import Bench
from instruments.contact import Needles, check_contact, check_first_contact
from instruments.fiducial import FiducialResult, PadGround, fits
from instruments.open_bench import OpenBench
from instruments.probed_die import ProbedDie
from labctl.core.body import ReadyDie, Say, _quiet
from labctl.core.errors import BenchError, ContactError, LabError, LeftUnverified
from labctl.core.fiducial import Fiducial
from labctl.core.prober import Compensated
from labctl.core.rebuild import Rebuild
from labctl.core.site import Site, Spot
from labctl.core.transport import Transport
from labctl.core.units import Second
from labctl.station.prober_session import ProberSession, by_pads
from labctl.station.simulated import VISIT
from labctl.storage.stress_ledger import StressLedger


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

    def seek_ahead(self, spot: Spot, operation: int) -> Callable[[], None]:
        """Do the same; return what waits until it is done."""
        ...

    def insert(self, spot: Spot) -> str:
        """Put the die of a spot onto the board, as a person would; return what stands on it."""
        ...

    def close(self) -> None:
        """Stop the twin."""
        ...


class OnBench(ProberSession[OpenBench]):
    """A bench or its twin; leaving the context makes it safe.

    Args:
        twin: None for the real bench.
        ledger: counts every touch over the lives of dies; None for simulated dies.
    """

    def __init__(
        self, bench: Bench, opened: OpenBench, twin: AnyTwin | None, ledger: StressLedger | None = None
    ) -> None:
        super().__init__(opened, opened.wait, ledger)
        self.bench, self.twin = bench, twin
        self.anew = twin is not None
        """Whether the next die is as it was made, as the dies of a new twin are."""

    def _footing(self) -> Needles:
        return Needles(self.opened.die)

    @property
    def rebuild(self) -> Rebuild:
        """A real die keeps its cells; the cells of a new twin are made anew."""
        return Rebuild.STATES if self.anew else Rebuild.NOTHING

    @property
    def patience(self) -> Second:
        """Longest time of an approach, s; infinite where a person moves the needles."""
        return math.inf if getattr(self.opened.prober, "by_hand", False) else self._moved_patience()

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
            self._touch(subject, opened.prober, say, record)
        else:
            record["contact_resistance"] = by_pads(check_first_contact(die))
        return self._ready(die, subject, record)

    def _ready(self, die: ProbedDie, subject: Site, record: dict[str, Any]) -> ReadyDie:
        ready = ReadyDie(die, record, prove=lambda: by_pads(check_contact(die)), warnings=self.opened.warnings)
        if self.twin is None:
            return ready
        twin, spot, first = self.twin, subject.spot, subject.visit << VISIT
        return replace(
            ready,
            truth=partial(twin.truth, spot),
            seek=lambda number: twin.seek(spot, first + number),
            seek_ahead=lambda number: twin.seek_ahead(spot, first + number),
        )

    def prove(self, fiducials: Sequence[Fiducial], subjects: Iterable[Site]) -> list[FiducialResult]:
        """Verify at fiducials that the map lies where the prober assumes it; see `instruments.fiducial.prove`.

        The measurements are recorded with the first die that is approached.

        Args:
            subjects: all dies of the wafer, tested or not.

        Raises:
            BenchError: it does not, or the bench has no prober.
            ContactError: no structure conducts.
            InstrumentError: the chuck does not settle, or an instrument did not answer as expected.
        """
        if self.opened.prober is None:
            raise BenchError(f"the wafer has fiducials, and the bench '{self.bench.name}' has no prober to go there")
        fits(self.bench, fiducials)
        self._prove(PadGround(self.opened.die), self.opened.prober, fiducials, subjects)
        return self._fiducials

    def leave(self) -> None:
        """Switch the outputs off, verified, and lift the needles as the bench file says."""
        self.opened.off()
        self._lift()

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
            record["contact_resistance"] = by_pads(check_first_contact(die))
        except ContactError as error:
            if isinstance(prober, Compensated) and not prober.at_contact_height():
                raise
            record["no_contact"] = str(error)
            return replace(self._ready(die, subject, record), prove=None)
        return self._ready(die, subject, record)

    def leave(self) -> None:
        """Switch the outputs off, verified, and open the relays; the needles stay."""
        self.opened.off()
