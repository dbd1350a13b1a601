"""What a plan is warned of its wafer map: legal, refused by nothing, and not what anybody wants."""

import re
from collections.abc import Iterator, Sequence

from labctl.core.site import Spot
from labctl.execution.plan import DiePlan
from labctl.station.plan_warning import PlanWarning, where_of
from labctl.station.run_spec import RunSpec
from labctl.terminal.progress import counted

DIE_MARKS = "X"
"""Marks of a drawn map that stand for a die; a dot and a space stand for none."""


def another_wafer(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of a map file that is of another wafer or lot than the wafer file says; a real bench refuses it."""
    if spec.layout is None:
        return
    for _, text in spec.layout.conflicts:
        source = next(s for s in spec.loaded if getattr(s.value, "map_file", None) == spec.layout.source)
        yield PlanWarning(f"{text}. A bench refuses it", "map_file", source.where("map_file"))


def letters_in_a_map(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of marks in a drawn map that are dies only because they are no dot."""
    for source in spec.loaded:
        for number, row in enumerate(getattr(source.value, "map", ()) or ()):
            if re.fullmatch(r"\S( \S){2,}", row):
                yield PlanWarning(
                    f"the blanks in {row!r} are taken for places without a die, so that the dies on both sides lie "
                    f"apart; expected {DIE_MARKS} for a die and a dot for none",
                    f"map.{number}",
                    source.where("map", number),
                )
            if odd := sorted(set(row) - set(DIE_MARKS) - set(". ")):
                marks = " and ".join(repr(mark) for mark in odd)
                yield PlanWarning(
                    f"{marks} in {row!r} {'is' if len(odd) == 1 else 'are'} taken for a die; "
                    f"expected {DIE_MARKS} for a die and a dot for none",
                    f"map.{number}",
                    source.where("map", number),
                )


def rows_of_a_map(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of a drawn map whose rows are not equally long: marks may be missing at either end."""
    for source in spec.loaded:
        rows: tuple[str, ...] = getattr(source.value, "map", ()) or ()
        for number, row in enumerate(rows):
            if len(row) != len(rows[0]):
                yield PlanWarning(
                    f"{row!r} has {counted(len(row), 'place')} and the first row {len(rows[0])}; what is missing is "
                    "taken for places without a die on the right; expected rows of one length",
                    f"map.{number}",
                    source.where("map", number),
                )
                break


def fiducials_against_the_map(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of a fiducial that expects contact where the map has no die, or none where it has one."""
    if spec.layout is None:
        return
    places = {(place.x, place.y) for place in spec.layout.map.places}
    for source in spec.loaded:
        for number, fiducial in enumerate(getattr(source.value, "fiducials", ())):
            if fiducial.expect is not None and fiducial.open == (fiducial.at in places):
                yield PlanWarning(
                    f"'{fiducial.expect}' is expected at {fiducial.name}, where the map has "
                    f"{'a' if fiducial.open else 'no'} die; the map cannot be proved by that",
                    f"fiducials.{number}",
                    source.where("fiducials", number),
                )


def one_place(spec: RunSpec, plans: Sequence[DiePlan]) -> Iterator[PlanWarning]:
    """Warn of two dies at one place of the map: a prober goes to the same die for both."""
    first: dict[Spot, str] = {}
    for site in spec.subjects:
        if (other := first.setdefault(site.spot, site.name)) != site.name:
            yield PlanWarning(
                f"{other} and {site.name} are both at x{site.at[0]}y{site.at[1]}, where a prober finds one die; "
                "expected a place for each",
                "dies",
                where_of(spec, spec.loaded[0].value, "dies"),
            )
