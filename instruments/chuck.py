"""What the height of a chuck proves about the needles.

A station may compensate the contact (topography, wedge, thermal drift): the chuck then stands off the heights that the
station reports, by an offset that cannot be read. So one height below another proves little. A chuck that was
commanded to separate and fell by the separation gap has separated, for any offset; one that did not move has separated
only if no offset within the bound would make it touch at its height.
"""

from dataclasses import dataclass

from labctl.core.units import Metre

ROUNDING: Metre = 1e-12


@dataclass(frozen=True)
class ChuckLevels:
    """Heights of a chuck site as they are set, and how far off them the chuck may stand; z grows towards the needles.

    Args:
        contact: where the needles touch if nothing is compensated.
        gap: from contact down to separation.
        ceiling: furthest that the chuck may go beyond contact.
        compensation: bound of the offset between these heights and where the chuck goes, either way.
        clearance: least distance from anything that may be contact.
        tolerance: how far from its height the chuck may stop.
    """

    contact: Metre
    gap: Metre
    ceiling: Metre
    compensation: Metre
    clearance: Metre
    tolerance: Metre

    @property
    def small_gap(self) -> str:
        """Why the gap does not distinguish needles up from needles down, in operator words; "" if it does."""
        least = 2 * self.compensation + self.clearance
        if self.gap >= least - ROUNDING:
            return ""
        return (
            f"the separation gap is {self.gap * 1e6:.4g} um; with up to {self.compensation * 1e6:.4g} um of "
            f"compensation at least {least * 1e6:.4g} um are needed to tell needles that are up from needles that are "
            "down. Set a larger gap at the station, or the 'compensation' of the bench file to the most that the "
            "station's is (0 um if it is off)"
        )

    def at_contact(self, z: Metre) -> bool:
        """Return whether the chuck stands at contact or in its overtravel, nothing compensated."""
        return -self.tolerance - ROUNDING <= z - self.contact <= self.ceiling + self.tolerance + ROUNDING

    def may_touch(self, z: Metre) -> bool:
        """Return whether the needles touch at `z` with some offset within the bound."""
        slack = self.compensation + self.tolerance + ROUNDING
        return -slack <= z - self.contact <= self.ceiling + slack

    def clear(self, z: Metre) -> bool:
        """Return whether `z` is separation with some offset within the bound, and contact with none."""
        separation = self.contact - self.gap + self.compensation
        lowest_contact = self.contact - self.compensation
        return z <= min(separation, lowest_contact - self.clearance) + self.tolerance + ROUNDING

    def standing(self, z: Metre) -> str:
        """Return where a chuck at `z` stands, in operator words.

        >>> ChuckLevels(15e-3, 250e-6, 50e-6, 100e-6, 50e-6, 2e-6).standing(14.94e-3)
        'in contact or close to it, 60.0 um below the contact height'
        """
        if self.at_contact(z):
            return "in contact"
        if self.may_touch(z):
            way = "above" if z > self.contact else "below"
            return f"in contact or close to it, {abs(z - self.contact) * 1e6:.1f} um {way} the contact height"
        if not self.clear(z):
            return "neither up nor down"
        off = z - self.contact + self.gap
        shift = "" if abs(off) <= self.tolerance else f", {off * 1e6:+.1f} um from the separation height"
        return f"separated by its heights{shift}"

    def separated(self, before: Metre, after: Metre, *, was_down: bool) -> bool:
        """Return whether a commanded separation from `before` to `after` is proved.

        Args:
            was_down: `before` is where the needles were last put down; a chuck that stays there has not separated.

        >>> levels = ChuckLevels(15e-3, 250e-6, 50e-6, 100e-6, 50e-6, 2e-6)
        >>> levels.separated(14.94e-3, 14.69e-3, was_down=True), levels.separated(14.94e-3, 14.94e-3, was_down=False)
        (True, False)
        """
        fallen = before - after + self.tolerance + ROUNDING
        if fallen >= self.gap:
            return True
        return self.clear(after) and (not was_down or fallen >= self.gap - self.compensation)
