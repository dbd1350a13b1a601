"""Needles on pads, whatever is behind them: touch, have contact checked, touch again within a quota, lift.

Every touch wears the pads, so retouches are few and limited by a quota over the die's life. What has to hold before
needles move, and what proves contact, is told by whoever drives the die (`Footing`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from labctl.core.errors import ContactError
from labctl.core.prober import Prober

T_co = TypeVar("T_co", covariant=True)


class Quota(Protocol):
    """How often needles may touch."""

    @property
    def retouches(self) -> int:
        """New touches after a failed check."""
        ...

    @property
    def touches_per_die(self) -> int:
        """Touches over the life of a die."""
        ...


class Landing(Protocol):
    """What drives the pads on which needles move."""

    def land(self) -> None:
        """Be ready for needles to touch or lift: verified off; InstrumentError if not, and nothing may move."""
        ...


class Footing(Landing, Protocol[T_co]):
    """What drives a die whose needles move."""

    @property
    def quota(self) -> Quota:
        """How often its needles may touch."""
        ...

    def check_contact(self) -> T_co:
        """Measure at a harmless voltage what conducts on a good touch; ContactError if it does not."""
        ...


@dataclass(frozen=True)
class Touchdown(Generic[T_co]):
    """A touch with contact.

    Args:
        touches: over the die's life, this one included.
        resistance: what the check measured.
    """

    touches: int
    resistance: T_co


def lower(landing: Landing, prober: Prober, touching: Callable[[], object]) -> None:
    """Lower the needles onto the pads; if that fails, they are lifted again before the error is raised.

    Args:
        touching: called before the needles move, to count the touch; they stay up if it raises.

    Raises:
        ContactError: the chuck stopped below contact; other errors are those of bench and prober.
    """
    landing.land()
    touching()
    try:
        prober.contact()
    except BaseException:
        lift(landing, prober)
        raise


def lift(landing: Landing, prober: Prober) -> None:
    """Lift the needles off the pads, in the state of landing."""
    landing.land()
    prober.separate()


def touch_down(
    footing: Footing[T_co],
    prober: Prober,
    touches: int = 0,
    *,
    retouching: Callable[[], None] = lambda: None,
    touching: Callable[[], object] = lambda: None,
) -> Touchdown[T_co]:
    """Lower the needles until the check finds contact; on failure what drives the die is safe, separated; ContactError.

    Contact is judged by the check alone: a compensated chuck stands off its contact height, and after a chuck
    stopped short nothing conducts.

    Args:
        footing: verified off before every motion.
        touches: touches that this die has had before.
        retouching: called before every touch but the first.
        touching: called before every touch, to count it; the needles stay up if it raises.
    """
    quota = footing.quota
    failures: list[str] = []
    for number in range(quota.retouches + 1):
        try:
            if not prober.in_contact():
                if touches >= quota.touches_per_die:
                    failures.append(f"its quota of {quota.touches_per_die} touches is used up")
                    break
                if number:
                    retouching()
                touches += 1
                lower(footing, prober, touching)
            return Touchdown(touches, footing.check_contact())
        except ContactError as error:
            failures.append(str(error))
        lift(footing, prober)
    raise ContactError(f"the die is given up after {touches} touches: {'; '.join(failures)}")
