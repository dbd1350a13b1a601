"""Check that the prober stands where the wafer map says, before the first die is measured.

A map that is shifted or turned assigns results to the wrong dies, undetected. So the wafer file names places with a
known electrical property: a structure of known resistance, or a place that has no die. The needles go there once, at
the voltage of the contact check; the measurement must agree, or the run does not start.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from instruments.bench import Bench, Contact
from instruments.board_bench import AnyBench
from instruments.board_needles import BoardNeedles
from instruments.contact import ohms
from instruments.drivers import has_prober
from instruments.probed_die import ProbedDie
from instruments.touches import Quota, lift, lower
from labctl.core.errors import BenchError, ContactError
from labctl.core.fiducial import Fiducial, Spot
from labctl.core.prober import Prober
from labctl.core.units import Ohm


@dataclass(frozen=True)
class FiducialResult:
    """Measurement at one fiducial.

    Args:
        touches: touches of the needles there.
        resistance: of each pair of pads, or of the lines of a board that conduct least, ohm.
        misfit: difference from the wafer file, in operator words; "" if none.
        conducts: whether any pair has contact.
    """

    at: Spot
    touches: int
    resistance: Mapping[str, Ohm]
    misfit: str
    conducts: bool


class Ground(Protocol):
    """What drives the places at which fiducials are; needles touch and lift on it as on a die."""

    @property
    def quota(self) -> Quota:
        """How often the needles may touch."""
        ...

    def land(self) -> None:
        """Be ready for needles to touch or lift."""
        ...

    def measure(self, fiducial: Fiducial) -> tuple[Mapping[str, Ohm], str, bool]:
        """Return what is measured at a fiducial, ohm, how it differs from the wafer file, and whether it conducts."""
        ...

    def rest(self) -> None:
        """Be safe."""
        ...


class PadGround:
    """A bench of sources, which measures between pads.

    Args:
        die: any die of it.
    """

    def __init__(self, die: ProbedDie) -> None:
        self._die, self.quota = die, die.bench.contact

    def land(self) -> None:
        """Have outputs verified off, pads on ground if chosen."""
        self._die.land()

    def measure(self, fiducial: Fiducial) -> tuple[Mapping[str, Ohm], str, bool]:
        """Measure between the pads of a fiducial, or of all contact structures."""
        contact = self._die.bench.contact
        resistance = {pair: self._die.continuity(*pair) for pair in _pairs(self._die.bench, fiducial)}
        highest = contact.resistance if fiducial.resistance is None else max(contact.resistance, fiducial.resistance[1])
        conducts = any(r <= highest for r in resistance.values())
        named = {"-".join(pair): r for pair, r in resistance.items()}
        return named, _misfit(fiducial, resistance, contact), conducts

    def rest(self) -> None:
        """Be at 0 V, relays open, outputs off."""
        self._die.idle()


class LineGround:
    """A board, which reads all lines of a die together.

    Args:
        needles: of the board, which has taken any die.
    """

    def __init__(self, needles: BoardNeedles) -> None:
        self._needles, self.quota = needles, needles.quota

    def land(self) -> None:
        """Have the board verified off and its die without power."""
        self._needles.land()

    def measure(self, fiducial: Fiducial) -> tuple[Mapping[str, Ohm], str, bool]:
        """Read the lines; there is a die where all of them touch."""
        try:
            resistance = self._needles.check_contact()
        except ContactError as error:
            return {}, "" if fiducial.open else f"{error}, expected contact", False
        return resistance, "all lines conduct, expected no contact, for there is no die" * fiducial.open, True

    def rest(self) -> None:
        """Have the board verified off."""
        self._needles.land()


def fits(bench: AnyBench, fiducials: Sequence[Fiducial]) -> None:
    """Raise BenchError unless a bench file allows going to fiducials and measuring them; nothing is connected."""
    if fiducials and not has_prober(bench):
        raise BenchError(f"the wafer has fiducials, and the bench '{bench.name}' has no prober to go there")
    for fiducial in fiducials:
        if not isinstance(bench, Bench):
            if fiducial.pads is not None:
                raise BenchError(
                    f"fiducial {fiducial.name}: pads are named, and a board reads all lines of a die together; "
                    "expected 'expect: contact' or 'no contact'"
                )
            continue
        pads = _pairs(bench, fiducial)
        if not pads:
            raise BenchError(f"fiducial {fiducial.name} names no pads, and the bench file has no contact structures")
        if unknown := {pad for pair in pads for pad in pair} - set(bench.wiring.pads):
            raise BenchError(f"fiducial {fiducial.name}: pad '{min(unknown)}' is not in the wiring of the bench")


def prove(
    ground: Ground,
    prober: Prober,
    fiducials: Sequence[Fiducial],
    dies: Collection[Spot] = (),
    touches: Mapping[Spot, int] | None = None,
    touching: Callable[[Spot], object] = lambda spot: None,
) -> list[FiducialResult]:
    """Go to every fiducial, touch, measure and compare; return the results if all agree.

    The bench is idle and the needles are up when it returns or raises. If nothing conducts that should, the needles
    touch again as often as the contact check allows.

    Args:
        dies: every place of the map that has a die, to recognise a map that is shifted, turned or mirrored.
        touches: earlier touches of the dies at these places.
        touching: called before every touch, to count it; the needles stay up if it raises.

    Raises:
        BenchError: a place does not agree; or the bench file has no contact structure and a fiducial names no pads.
        ContactError: no place that has a die conducts.
        InstrumentError: an instrument did not answer, or gave an unexpected reply.
    """
    contact = ground.quota
    for fiducial in fiducials:
        used = (touches or {}).get(fiducial.at, 0)
        if fiducial.at in dies and used >= contact.touches_per_die:
            raise BenchError(
                f"fiducial {fiducial.name}: the die there has used up its quota of {contact.touches_per_die} touches; "
                "name another place"
            )
    results: list[FiducialResult] = []
    try:
        for fiducial in fiducials:
            quota = contact.touches_per_die - (touches or {}).get(fiducial.at, 0)
            results.append(_visit(ground, prober, fiducial, min(contact.retouches + 1, quota), touching))
    finally:
        lift(ground, prober)
        ground.rest()
    misfits = [f"at x{r.at[0]}y{r.at[1]} {r.misfit}" for r in results if r.misfit]
    if not misfits:
        return results
    text = f"the wafer is not as its map says: {'; '.join(misfits)}"
    if not any(r.conducts for r in results) and not all(f.open for f in fiducials):
        raise ContactError(f"{text}. No place conducts: the needles may not reach the pads; the run does not start")
    raise BenchError(f"{text}. {_explain(fiducials, results, dies)}The run does not start")


def _pairs(bench: Bench, fiducial: Fiducial) -> tuple[tuple[str, str], ...]:
    return bench.contact.structures if fiducial.pads is None else (fiducial.pads,)


def _visit(
    ground: Ground, prober: Prober, fiducial: Fiducial, most: int, touching: Callable[[Spot], object]
) -> FiducialResult:
    """Touch at a fiducial, at most `most` times while nothing conducts that should, and return the result."""
    done = 0
    while True:
        ground.land()
        prober.step(*fiducial.at)
        done += 1
        try:
            lower(ground, prober, lambda: touching(fiducial.at))
            resistance, misfit, conducts = ground.measure(fiducial)
        except ContactError:  # the chuck stopped short, and the needles are up again: nothing conducts
            if done < most:
                continue
            raise
        lift(ground, prober)
        if conducts or fiducial.open or done >= most:
            return FiducialResult(fiducial.at, done, resistance, misfit, conducts)


def _misfit(fiducial: Fiducial, resistance: Mapping[tuple[str, str], Ohm], contact: Contact) -> str:
    """Return the pairs of pads that do not agree with the fiducial, as text, "" if none."""
    most = contact.resistance
    if fiducial.resistance is not None:
        least, highest = fiducial.resistance
        # a resistance that draws more than the check's limit reads voltage / limit
        bound = max(highest, contact.voltage / contact.limit)
        bad = {pair: r for pair, r in resistance.items() if not least <= r <= bound}
        expected = f"{ohms(least)} to {ohms(highest)}"
    elif fiducial.open:
        bad = {pair: r for pair, r in resistance.items() if r <= most}
        expected = "no contact, for there is no die"
    else:
        bad = {pair: r for pair, r in resistance.items() if not r <= most}
        expected = f"contact, at most {ohms(most)}"
    measured = ", ".join(f"{a}-{b} is {ohms(r)}" for (a, b), r in bad.items())
    return f"{measured}, expected {expected}" if bad else ""


MOST_WAYS = 3
"""If more misplacements than these explain the results, no single one is named."""
_NEAR = sorted(
    ((x, y) for x in (-2, -1, 0, 1, 2) for y in (-2, -1, 0, 1, 2) if (x, y) != (0, 0)),
    key=lambda s: (abs(s[0]) + abs(s[1]), s),
)


def _explain(fiducials: Sequence[Fiducial], results: Sequence[FiducialResult], dies: Collection[Spot]) -> str:
    """Return the misplacements of the map that agree with the results, as a sentence; "" if `dies` is empty.

    A hypothesis maps each visited place to the place where the needles really stood. The map has a die there or none;
    at another fiducial its resistance counts. Every visited place has to agree.
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
    fitting = [words for words, to in ways if all(_fits(r, known.get(to(*r.at)), to(*r.at) in dies) for r in results)]
    if not fitting:
        return "No shift and no turn of the map explains it. "
    if len(fitting) > MOST_WAYS:
        return "The map may be shifted or turned; more fiducials would tell how. "
    return f"The results fit a map that is {', or '.join(fitting)}. "


def _fits(result: FiducialResult, fiducial: Fiducial | None, has_die: bool) -> bool:
    """Return whether a result agrees with a place of the map: its fiducial if it has one, else a die or none."""
    if fiducial is not None and fiducial.resistance is not None:
        low, high = fiducial.resistance
        pads = "-".join(fiducial.pads or ())
        agree = all(low <= r <= high for name, r in result.resistance.items() if name == pads)
        return agree and result.conducts
    return result.conducts == (has_die if fiducial is None else not fiducial.open)


def _words(dx: int, dy: int) -> str:
    """Return the shift of the needles, in words.

    >>> _words(-2, 1)
    'shifted: the needles stand 2 columns to the left and 1 row down'
    """
    across = f"{abs(dx)} column{'s' if abs(dx) > 1 else ''} to the {'right' if dx > 0 else 'left'}" if dx else ""
    along = f"{abs(dy)} row{'s' if abs(dy) > 1 else ''} {'down' if dy > 0 else 'up'}" if dy else ""
    return "shifted: the needles stand " + " and ".join(part for part in (across, along) if part)
