"""Zones of a wafer, yields by bin and zone, and paretos."""

import pytest

from labctl.analysis.yields import Judged, pareto, pareto_of_counts, yields, zone_sizes
from labctl.analysis.zones import Zone, by_zone, zone_of

MAP = ["..XXXX..", ".XXXXXX.", "XXXXXXXX", "XXXXXXXX", ".XXXXXX.", "..XXXX.."]
PLACES = [(x, y) for y, row in enumerate(MAP) for x, mark in enumerate(row) if mark == "X"]


def test_three_rings_of_equal_area_share_the_dies_of_a_wafer() -> None:
    assert by_zone([zone_of(at, PLACES) for at in PLACES]) == {Zone.CENTRE: 12, Zone.MIDDLE: 12, Zone.EDGE: 12}
    assert zone_of((3, 2), PLACES) is zone_of((4, 3), PLACES) is Zone.CENTRE
    assert zone_of((0, 2), PLACES) is zone_of((2, 0), PLACES) is Zone.EDGE


def test_a_zone_is_of_the_whole_map_and_not_of_what_was_measured_or_where_it_begins() -> None:
    moved = [(x + 100, y - 7) for x, y in PLACES]
    assert [zone_of(at, moved) for at in moved] == [zone_of(at, PLACES) for at in PLACES]


def test_a_map_that_is_too_small_has_no_zones() -> None:
    row = [(x, 0) for x in range(9)]
    assert zone_of((4, 0), row) is zone_of((0, 0), []) is None
    assert by_zone([zone_of(at, row) for at in row]) == {}


def test_yields_are_of_the_dies_that_have_a_bin() -> None:
    dies = [Judged("good", 1, Zone.CENTRE)] * 3 + [Judged("weak", 4, Zone.EDGE)] * 4 + [Judged("contact", 5, Zone.EDGE)]
    good, weak, contact = yields(dies)
    assert (good.bin, good.dies, good.share) == ("good", 3, 3 / 8)
    assert good.interval == pytest.approx((0.1368, 0.6943), abs=1e-4)
    assert dict(weak.zones) == {Zone.CENTRE: 0, Zone.MIDDLE: 0, Zone.EDGE: 4}
    assert (contact.hard, contact.share) == (5, 1 / 8)
    assert zone_sizes(dies) == {Zone.CENTRE: 3, Zone.MIDDLE: 0, Zone.EDGE: 5}
    assert yields([]) == []


def test_a_pareto_is_ordered_and_adds_up_to_all() -> None:
    failures = [("weak", "tmr"), ("contact", "pads r0"), ("weak", "tmr"), ("weak", "r_p"), ("contact", "pads r0")]
    weak, contact = pareto(failures)
    assert (weak.name, weak.number, weak.share, weak.inside) == ("weak", 3, 0.6, (("tmr", 2), ("r_p", 1)))
    assert (contact.cumulative, contact.inside) == (1.0, (("pads r0", 2),))
    assert pareto([]) == []


def test_a_pareto_of_counts_leaves_out_what_never_happened() -> None:
    causes = pareto_of_counts({"short": 1, "open": 3, "stuck P": 0})
    assert [(c.name, c.share, c.cumulative) for c in causes] == [("open", 0.75, 0.75), ("short", 0.25, 1.0)]
    assert pareto_of_counts({"short": 0}) == []
