"""Needles on pads, gently: touch, check the continuity of known structures at a voltage that hurts nobody, touch again.

Every touch wears the pads, so there are few new tries and a quota over the die's life; the built-in contact check of
a source is not used, because it needs a milliampere.
"""

from collections.abc import Callable
from dataclasses import dataclass

from instruments.probed_die import ProbedDie
from labctl.core.errors import ContactError
from labctl.core.instrument import Prober
from labctl.core.units import Ohm

OPEN: Ohm = 1e8
"""[?] From here on nothing conducts: at the voltage of the contact check it is 150 pA."""


@dataclass(frozen=True)
class Touchdown:
    """A touch that holds.

    Args:
        touches: over the die's life, this one included.
        resistance: of each structure, ohm.
    """

    touches: int
    resistance: dict[tuple[str, str], Ohm]


def check_contact(die: ProbedDie) -> dict[tuple[str, str], Ohm]:
    """Return the resistance of every contact structure of the bench file, ohm; ContactError if one is too high.

    It is the first voltage on a die that was touched. With a bench file that names no structure the first operation has
    a row and a column biased at the voltage of the check before it, judged by nobody.
    """
    contact = die.bench.contact
    resistance = {pads: die.continuity(*pads) for pads in contact.structures}
    bad = [f"{a}-{b} {ohms(r)}" for (a, b), r in resistance.items() if not r <= contact.resistance]
    if bad:
        raise ContactError(f"no contact: {', '.join(bad)}; at most {ohms(contact.resistance)} is contact")
    return resistance


def lower(die: ProbedDie, prober: Prober, touching: Callable[[], object]) -> None:
    """Have the needles on the pads; if that fails, whatever heights say, they are up again before the error is raised.

    Args:
        touching: called before the needles move, to count the touch; they stay up if it raises.

    Raises:
        ContactError: the chuck stopped where nothing can touch; other errors are those of bench and prober.
    """
    die.land()
    touching()
    try:
        prober.contact()
    except BaseException:
        lift(die, prober)
        raise


def lift(die: ProbedDie, prober: Prober) -> None:
    """Have the needles off the pads, left as they were landed on: outputs verified off, on ground if so chosen."""
    die.land()
    prober.separate()


def touch_down(
    die: ProbedDie,
    prober: Prober,
    touches: int = 0,
    *,
    retouching: Callable[[], None] = lambda: None,
    touching: Callable[[], object] = lambda: None,
) -> Touchdown:
    """Have the needles on the pads with every structure conducting; on failure safe, separated, and ContactError.

    Whether there is contact is judged by the structures alone: a chuck whose contact is compensated stands off its
    contact height, and one that stopped short has structures that do not conduct.

    Args:
        die: idled and verified off before every motion.
        touches: touches that this die has had before.
        retouching: called before every touch but the first.
        touching: called before every touch, to count it; the needles stay up if it raises.
    """
    contact = die.bench.contact
    failures: list[str] = []
    for number in range(contact.retouches + 1):
        try:
            if not prober.in_contact():
                if touches >= contact.touches_per_die:
                    failures.append(f"its quota of {contact.touches_per_die} touches is used up")
                    break
                if number:
                    retouching()
                touches += 1
                lower(die, prober, touching)
            return Touchdown(touches, check_contact(die))
        except ContactError as error:
            failures.append(str(error))
        lift(die, prober)
    raise ContactError(f"the die is given up after {touches} touches: {'; '.join(failures)}")


def ohms(value: Ohm) -> str:
    """Return a resistance as text; what carries no more than the noise of the sources is open.

    >>> ohms(2400.0), ohms(float("inf"))
    ('2.4 kohm', 'open')
    """
    return "open" if value >= OPEN else f"{value / 1e3:.3g} kohm"
