"""Contact of needles on a bench of sources: the continuity of known structures at a harmless voltage.

The built-in contact check of a source is not used, because it needs a milliampere.
"""

import contextlib

from instruments.probed_die import ProbedDie
from labctl.core.cell_state import OPEN_BELOW
from labctl.core.errors import BenchError, ContactError, InstrumentError
from labctl.core.units import Ohm, Second

OPEN: Ohm = 1e8
"""[?] Resistance that counts as open: 150 pA at the voltage of the contact check."""


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


class Needles:
    """The needles of a probed die (`instruments.touches.Footing`), landed in the state of landing of its bench.

    Args:
        die: idled and verified off before every motion, on ground if the bench file has chosen it.
    """

    def __init__(self, die: ProbedDie) -> None:
        self._die, self.quota = die, die.bench.contact

    def land(self) -> None:
        """Make the bench ready for needles to touch or lift."""
        self._die.land()

    def check_contact(self) -> dict[tuple[str, str], Ohm]:
        """Return the resistances of `check_first_contact`."""
        return check_first_contact(self._die)


def ohms(value: Ohm) -> str:
    """Return a resistance as text, `open` if its current is below the noise of the sources.

    >>> ohms(2400.0), ohms(float("inf"))
    ('2.4 kohm', 'open')
    """
    return "open" if value >= OPEN else f"{value / 1e3:.3g} kohm"
