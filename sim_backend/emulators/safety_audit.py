"""Audit of the effects of the instruments on the die, counted by the world and not by the drivers.

The criteria of a safe bench are read here: no hot switch, no move in contact, no voltage above the limit in any
transient, nothing energised after the end.
"""

from dataclasses import dataclass, field

from labctl.core.units import Second, Volt

HOT_VOLTAGE: Volt = 1e-3


@dataclass(frozen=True)
class Incident:
    """One unsafe event.

    Args:
        time: s on the world's clock.
        what: `hot switch`, `move in contact`, `hot touch`, `sources fight`, `refused`; of a node of TSP-Link
            `subordinate commanded` at its own address; of a pulse source `untriggered` pulses, an `idle level` that is
            not 0 V when an output goes on, and a `cut pulse`, whose output went off before its end.
        detail: operator words.
    """

    time: Second
    what: str
    detail: str


@dataclass
class SafetyAudit:
    """Audit of one world.

    Args:
        peak_cell_voltage: largest |V_row - V_col| between two lines of one kernel, transients included, V. On a
            passive array no cell sees more than its lines.
        peak_gate_voltage: highest gate of a cell, above the ground of its chip, V.
        first_bias: per time that the needles went down (or were down at the start), the largest difference between two
            lines of a kernel until the die was at rest again, V; 0 if nothing was applied yet.
        pulses: pulses of pulse sources that came to a line.
        energised: merged spans (begin, end) of time in which a line of a die was away from the others, s.
    """

    peak_cell_voltage: Volt = 0.0
    peak_gate_voltage: Volt = 0.0
    relay_operations: int = 0
    pulses: int = 0
    messages: int = 0
    events: list[Incident] = field(default_factory=list)
    first_bias: list[Volt] = field(default_factory=list)
    energised: list[tuple[Second, Second]] = field(default_factory=list)
    _first: bool = False
    """Whether the first bias of the last touch has not ended."""

    def note(self, time: Second, what: str, detail: str) -> None:
        """Record an event."""
        self.events.append(Incident(time, what, detail))

    def count(self, what: str) -> int:
        """Return the number of events of a kind."""
        return sum(event.what == what for event in self.events)

    @property
    def hot_switches(self) -> int:
        """Relays moved, or needles put down or lifted, under voltage or current."""
        return self.count("hot switch") + self.count("hot touch")

    @property
    def moves_in_contact(self) -> int:
        """Chuck moves in x or y with the needles down."""
        return self.count("move in contact")

    @property
    def refused(self) -> int:
        """Commands that an instrument refused."""
        return self.count("refused")

    @property
    def fights(self) -> int:
        """Times that two sources were put on one net at different levels."""
        return self.count("sources fight")

    def touched(self) -> None:
        """Record that the needles touch a die."""
        self.first_bias.append(0.0)
        self._first = True

    @property
    def awaits_bias(self) -> bool:
        """Whether `biased` has anything to record: the first bias after a touch is not over."""
        return self._first

    def biased(self, spread: Volt) -> None:
        """Record the present largest difference between lines of the die.

        >>> audit = SafetyAudit(); audit.touched()
        >>> for spread in (0.0, 8e-3, 15e-3, 0.0, 0.5): audit.biased(spread)
        >>> audit.first_bias
        [0.015]
        """
        if self._first and spread > HOT_VOLTAGE:
            self.first_bias[-1] = max(self.first_bias[-1], spread)
        elif self._first and self.first_bias[-1]:
            self._first = False

    def energise(self, begin: Second, end: Second) -> None:
        """Record a span of time in which the die was energised."""
        if end <= begin:
            return
        if self.energised and self.energised[-1][1] >= begin - 1e-12:
            self.energised[-1] = (self.energised[-1][0], end)
        else:
            self.energised.append((begin, end))

    def energised_time(self, since: Second = 0.0) -> Second:
        """Return the energised seconds after `since`.

        >>> audit = SafetyAudit(); audit.energise(1.0, 3.0); audit.energised_time(since=2.5)
        0.5
        """
        return sum(max(0.0, end - max(begin, since)) for begin, end in self.energised)
