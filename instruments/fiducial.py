"""Proof that the prober stands where the wafer map says, before the first die is measured.

A map that is off by one or turned measures the right things on the wrong dies, and nothing later notices. So the wafer
file names places whose electrical fact is known: a structure of known resistance, or a place that has no die. The
needles go there once, at the voltage of the contact check; what they find must fit, or the run does not start.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from instruments.bench import Bench, Contact
from instruments.contact import lift, lower, ohms
from instruments.drivers import has_prober
from instruments.probed_die import ProbedDie
from labctl.core.errors import BenchError, ContactError
from labctl.core.model import Model
from labctl.core.prober import Prober
from labctl.core.units import Ohm

Spot = tuple[int, int]
"""(column, row) as the prober counts."""


def _spot(said: Any) -> Any:
    """Return (3, 0) for "x3y0", and anything else as it is."""
    if isinstance(said, str) and said.startswith("x"):
        column, found, row = said[1:].partition("y")
        if found and column.lstrip("-").isdigit() and row.lstrip("-").isdigit():
            return int(column), int(row)
    return said


class Fiducial(Model):
    """A place of the wafer whose electrical fact is known."""

    at: Annotated[Spot, BeforeValidator(_spot)] = Field(description="the place: x3y0, or [3, 0]")
    pads: tuple[str, str] | None = Field(default=None, description="two pads; all contact structures if left out")
    resistance: tuple[Ohm, Ohm] | None = Field(
        default=None, description="least and most between the pads, at the voltage of the contact check"
    )
    expect: Literal["contact", "no contact"] | None = Field(
        default=None, description="instead of a resistance; 'no contact' is a place that has no die"
    )

    @model_validator(mode="after")
    def _one_fact(self) -> "Fiducial":
        if (self.resistance is None) == (self.expect is None):
            raise ValueError("a fiducial says one fact: a 'resistance' [least, most], or what to 'expect'")
        if self.resistance is not None and self.pads is None:
            raise ValueError("a resistance is between two 'pads'; name them")
        if self.resistance is not None and not 0 <= self.resistance[0] < self.resistance[1]:
            raise ValueError("a resistance is [least, most], the least first")
        return self

    @property
    def open(self) -> bool:
        """Whether nothing conducts there."""
        return self.expect == "no contact"

    @property
    def name(self) -> str:
        """The place in words."""
        return f"x{self.at[0]}y{self.at[1]}"


@dataclass(frozen=True)
class Found:
    """What the needles found at one fiducial.

    Args:
        touches: how often they went down there.
        resistance: of each pair of pads, ohm.
        said: what does not fit, in operator words; "" if all does.
        conducts: whether any of them has contact.
    """

    at: Spot
    touches: int
    resistance: Mapping[tuple[str, str], Ohm]
    said: str
    conducts: bool


def fits(bench: Bench, fiducials: Sequence[Fiducial]) -> None:
    """Raise BenchError unless a bench can go to fiducials and measure them; nothing is asked of it."""
    if fiducials and not has_prober(bench):
        raise BenchError(f"the wafer has fiducials, and the bench '{bench.name}' has no prober to go there")
    for fiducial in fiducials:
        pads = _pairs(bench, fiducial)
        if not pads:
            raise BenchError(f"fiducial {fiducial.name} names no pads, and the bench file has no contact structures")
        if unknown := {pad for pair in pads for pad in pair} - set(bench.wiring.pads):
            raise BenchError(f"fiducial {fiducial.name}: pad '{min(unknown)}' is not in the wiring of the bench")


def prove(
    die: ProbedDie,
    prober: Prober,
    fiducials: Sequence[Fiducial],
    dies: Collection[Spot] = (),
    touches: Mapping[Spot, int] | None = None,
    touching: Callable[[Spot], object] = lambda spot: None,
) -> list[Found]:
    """Go to every fiducial, touch, measure and compare; return what was found when all of it fits.

    The bench is idle and the needles are up when it returns or raises. Where nothing conducts that should, the
    needles try again as often as the contact check allows.

    Args:
        dies: every place of the map that has a die, to recognise a map that is shifted, turned or mirrored.
        touches: that the dies at these places have had before.
        touching: called before every touch, to count it; the needles stay up if it raises.

    Raises:
        BenchError: a place does not fit; or the bench file has no contact structure and a fiducial names no pads.
        ContactError: no place that has a die conducts.
        InstrumentError: something did not answer, or not as it should.
    """
    contact = die.bench.contact
    fits(die.bench, fiducials)
    for fiducial in fiducials:
        used = (touches or {}).get(fiducial.at, 0)
        if fiducial.at in dies and used >= contact.touches_per_die:
            raise BenchError(
                f"fiducial {fiducial.name}: the die there has used up its quota of {contact.touches_per_die} touches; "
                "name another place"
            )
    found: list[Found] = []
    try:
        for fiducial in fiducials:
            left = contact.touches_per_die - (touches or {}).get(fiducial.at, 0)
            found.append(_visit(die, prober, fiducial, min(contact.retouches + 1, left), touching))
    finally:
        lift(die, prober)
        die.idle()
    wrong = [f"at x{f.at[0]}y{f.at[1]} {f.said}" for f in found if f.said]
    if not wrong:
        return found
    text = f"the wafer is not as its map says: {'; '.join(wrong)}"
    if not any(f.conducts for f in found) and not all(f.open for f in fiducials):
        raise ContactError(f"{text}. No place conducts: the needles may not reach the pads; the run does not start")
    raise BenchError(f"{text}. {_explain(fiducials, found, dies)}The run does not start")


def _pairs(bench: Bench, fiducial: Fiducial) -> tuple[tuple[str, str], ...]:
    return bench.contact.structures if fiducial.pads is None else (fiducial.pads,)


def _visit(die: ProbedDie, prober: Prober, fiducial: Fiducial, most: int, touching: Callable[[Spot], object]) -> Found:
    """Touch at a fiducial, at most `most` times while nothing conducts that should, and return what was found."""
    contact, done = die.bench.contact, 0
    while True:
        die.land()
        prober.step(*fiducial.at)
        done += 1
        try:
            lower(die, prober, lambda: touching(fiducial.at))
            resistance = {pair: die.continuity(*pair) for pair in _pairs(die.bench, fiducial)}
        except ContactError:  # the chuck stopped short, and the needles are up again: nothing conducts
            if done < most:
                continue
            raise
        lift(die, prober)
        highest = contact.resistance if fiducial.resistance is None else max(contact.resistance, fiducial.resistance[1])
        conducts = any(r <= highest for r in resistance.values())
        if conducts or fiducial.open or done >= most:
            return Found(fiducial.at, done, resistance, _misfit(fiducial, resistance, contact), conducts)


def _misfit(fiducial: Fiducial, found: Mapping[tuple[str, str], Ohm], contact: Contact) -> str:
    """Return what does not fit, "" if all does."""
    most = contact.resistance
    if fiducial.resistance is not None:
        least, highest = fiducial.resistance
        # what conducts more than the check's limit reads voltage / limit, however little it is
        bad = {pair: r for pair, r in found.items() if not least <= r <= max(highest, contact.voltage / contact.limit)}
        expected = f"{ohms(least)} to {ohms(highest)}"
    elif fiducial.open:
        bad = {pair: r for pair, r in found.items() if r <= most}
        expected = "no contact, for there is no die"
    else:
        bad = {pair: r for pair, r in found.items() if not r <= most}
        expected = f"contact, at most {ohms(most)}"
    measured = ", ".join(f"{a}-{b} is {ohms(r)}" for (a, b), r in bad.items())
    return f"{measured}, expected {expected}" if bad else ""


MOST_WAYS = 3
"""When more ways than these explain what was found, the places were too few to name one."""
_NEAR = sorted(
    ((x, y) for x in (-2, -1, 0, 1, 2) for y in (-2, -1, 0, 1, 2) if (x, y) != (0, 0)),
    key=lambda s: (abs(s[0]) + abs(s[1]), s),
)


def _explain(fiducials: Sequence[Fiducial], found: Sequence[Found], dies: Collection[Spot]) -> str:
    """Return the ways of misplacing the map that what was found fits, as a sentence; "" if there is none.

    A hypothesis says where on the map the needles really stood. There the map has a die or none, and where another
    fiducial knows better, its resistance counts; every place that was visited has to fit.
    """
    if not dies:
        return ""
    left, right = min(x for x, _ in dies), max(x for x, _ in dies)
    top, bottom = min(y for _, y in dies), max(y for _, y in dies)
    ways: list[tuple[str, Callable[[int, int], Spot]]] = []
    for dx, dy in _NEAR:
        ways.append((_words(dx, dy), lambda x, y, dx=dx, dy=dy: (x + dx, y + dy)))  # type: ignore[misc]
    ways.append(("turned by 180 degrees", lambda x, y: (left + right - x, top + bottom - y)))
    if right - left == bottom - top:
        ways.append(("turned by 90 degrees", lambda x, y: (left + y - top, top + right - x)))
        ways.append(("turned by 90 degrees the other way", lambda x, y: (right - (y - top), top + x - left)))
    ways.append(("mirrored left to right", lambda x, y: (left + right - x, y)))
    ways.append(("mirrored top to bottom", lambda x, y: (x, top + bottom - y)))
    known = {f.at: f for f in fiducials}
    fitting = [words for words, to in ways if all(_fits(f, known.get(to(*f.at)), to(*f.at) in dies) for f in found)]
    if not fitting:
        return "No shift and no turn of the map explains it. "
    if len(fitting) > MOST_WAYS:
        return "The map may be shifted or turned; more fiducials would tell how. "
    return f"What was found fits a map that is {', or '.join(fitting)}. "


def _fits(found: Found, there: Fiducial | None, has_die: bool) -> bool:
    """Return whether what was found fits a place of the map: a fiducial if there is one, a die or none otherwise."""
    if there is not None and there.resistance is not None:
        low, high = there.resistance
        return all(low <= r <= high for pair, r in found.resistance.items() if pair == there.pads) and found.conducts
    return found.conducts == (has_die if there is None else not there.open)


def _words(dx: int, dy: int) -> str:
    """Return how the needles stand off, in words.

    >>> _words(-2, 1)
    'shifted: the needles stand 2 columns to the left and 1 row down'
    """
    across = f"{abs(dx)} column{'s' if abs(dx) > 1 else ''} to the {'right' if dx > 0 else 'left'}" if dx else ""
    along = f"{abs(dy)} row{'s' if abs(dy) > 1 else ''} {'down' if dy > 0 else 'up'}" if dy else ""
    return "shifted: the needles stand " + " and ".join(part for part in (across, along) if part)
