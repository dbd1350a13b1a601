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
    """Return the resistance of every contact structure of the bench file, ohm; ContactError if one is too high."""
    contact = die.bench.contact
    found = {pads: die.continuity(*pads) for pads in contact.structures}
    bad = [f"{a}-{b} {ohms(r)}" for (a, b), r in found.items() if not r <= contact.resistance]
    if bad:
        raise ContactError(f"no contact: {', '.join(bad)}; at most {ohms(contact.resistance)} is contact")
    return found


def touch_down(
    die: ProbedDie,
    prober: Prober,
    touches: int = 0,
    *,
    retouching: Callable[[], None] = lambda: None,
    touching: Callable[[], object] = lambda: None,
) -> Touchdown:
    """Have the needles on the pads with every structure conducting; on failure safe, separated, and ContactError.

    Args:
        die: idled and verified off before every motion.
        touches: touches that this die has had before.
        retouching: called before every touch but the first.
        touching: called before every touch, to count it; the needles stay up if it raises.
    """
    contact = die.bench.contact
    said: list[str] = []
    for number in range(contact.retouches + 1):
        if not prober.in_contact():
            if touches >= contact.touches_per_die:
                said.append(f"its quota of {contact.touches_per_die} touches is used up")
                break
            die.idle()
            if number:
                retouching()
            touching()
            prober.contact()
            touches += 1
        try:
            return Touchdown(touches, check_contact(die))
        except ContactError as error:
            said.append(str(error))
        die.idle()
        prober.separate()
    raise ContactError(f"the die is given up after {touches} touches: {'; '.join(said)}")


def ohms(value: Ohm) -> str:
    """Return a resistance as text.

    >>> ohms(2400.0), ohms(float("inf"))
    ('2.4 kohm', 'open')
    """
    return "open" if value == float("inf") else f"{value / 1e3:.3g} kohm"
