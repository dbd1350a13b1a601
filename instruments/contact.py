"""Needles on pads: touch, check the continuity of known structures at a harmless voltage, touch again.

Every touch wears the pads, so retouches are few and limited by a quota over the die's life; the built-in contact check
of a source is not used, because it needs a milliampere.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from instruments.probed_die import ProbedDie
from labctl.core.cell_state import OPEN_BELOW
from labctl.core.errors import BenchError, ContactError, InstrumentError
from labctl.core.prober import Prober
from labctl.core.units import Ohm, Second

OPEN: Ohm = 1e8
"""[?] Resistance that counts as open: 150 pA at the voltage of the contact check."""


@dataclass(frozen=True)
class Touchdown:
    """A touch with contact.

    Args:
        touches: over the die's life, this one included.
        resistance: of each structure, ohm.
    """

    touches: int
    resistance: dict[tuple[str, str], Ohm]


def check_contact(die: ProbedDie) -> dict[tuple[str, str], Ohm]:
    """Return the resistance of every contact structure of the bench file, ohm; ContactError if one is too high.

    It is the first voltage on a die that was touched. With a bench file that names no structure, the first operation is
    preceded by the same voltage on a row and a column, and the result is not judged.
    """
    contact = die.bench.contact
    resistance = {pads: die.continuity(*pads) for pads in contact.structures}
    bad = [f"{a}-{b} {ohms(r)}" for (a, b), r in resistance.items() if not r <= contact.resistance]
    if bad:
        none = len(bad) == len(resistance)
        everywhere = "no current flows: look whether the needles touch, and whether instruments or cables are swapped"
        advice = everywhere if none else "look whether the needles touch there"
        raise ContactError(f"no contact: {', '.join(bad)}; at most {ohms(contact.resistance)} is contact; {advice}")
    return resistance


def check_first_contact(die: ProbedDie) -> dict[tuple[str, str], Ohm]:
    """Return the resistances of `check_contact`; if nothing conducts, find out whether two sources are swapped.

    Sources whose addresses or cables are swapped drive lines that nothing connects. So the relays of one are closed
    while the other drives, at the voltage of the contact check: if a structure conducts then, they are swapped. Where
    none is named a cell takes its place, whose own resistance is not judged.

    Raises:
        ContactError: a structure has too high a resistance.
        InstrumentError: two sources of one model are swapped.
    """
    structures, kernel = die.bench.contact.structures, die.bench.wiring.kernels[0]
    if not structures:
        pads, most = (kernel.rows[0], kernel.cols[0]), 1 / (OPEN_BELOW * die.nominal.g_ap(0))
        if die.continuity(*pads) > most:
            _refuse_swapped(die, pads, most)
        return {}
    try:
        return check_contact(die)
    except ContactError:
        _refuse_swapped(die, structures[0], die.bench.contact.resistance)
        raise


def _refuse_swapped(die: ProbedDie, pads: tuple[str, str], most: Ohm) -> None:
    """Raise InstrumentError if at most `most` ohm are between two pads once two sources have changed places."""
    for one, other, over in die.exchanges():
        with contextlib.suppress(BenchError):  # not every pad has a relay to every source
            if die.continuity(*pads, over=over) <= most:
                raise InstrumentError(
                    f"no current flows from {die.driving(*pads)} through {'-'.join(pads)}, and it does over the relays "
                    f"of the other instrument: {one} and {other} are swapped. Exchange their addresses in the bench "
                    "file, or their cables; a 'serial' in the file tells them apart"
                )


def check_time(die: ProbedDie) -> Second:
    """Return the predicted time of proving contact again, s: of the structures, or of a cell where none is named."""
    kernel = die.bench.wiring.kernels[0]
    structures = die.bench.contact.structures or ((kernel.rows[0], kernel.cols[0]),)
    return sum(die.continuity_time(*pads) for pads in structures)


def lower(die: ProbedDie, prober: Prober, touching: Callable[[], object]) -> None:
    """Lower the needles onto the pads; if that fails, they are lifted again before the error is raised.

    Args:
        touching: called before the needles move, to count the touch; they stay up if it raises.

    Raises:
        ContactError: the chuck stopped below contact; other errors are those of bench and prober.
    """
    die.land()
    touching()
    try:
        prober.contact()
    except BaseException:
        lift(die, prober)
        raise


def lift(die: ProbedDie, prober: Prober) -> None:
    """Lift the needles off the pads, in the state of landing: outputs verified off, on ground if chosen."""
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
    """Lower the needles until every structure conducts; on failure the bench is safe, separated, and ContactError.

    Contact is judged by the structures alone: a compensated chuck stands off its contact height, and after a chuck
    stopped short the structures do not conduct.

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
            return Touchdown(touches, check_first_contact(die))
        except ContactError as error:
            failures.append(str(error))
        lift(die, prober)
    raise ContactError(f"the die is given up after {touches} touches: {'; '.join(failures)}")


def ohms(value: Ohm) -> str:
    """Return a resistance as text, `open` if its current is below the noise of the sources.

    >>> ohms(2400.0), ohms(float("inf"))
    ('2.4 kohm', 'open')
    """
    return "open" if value >= OPEN else f"{value / 1e3:.3g} kohm"
