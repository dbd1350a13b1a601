"""Zones of a wafer, yields by bin and zone, and paretos."""

import pytest

from labctl.analysis.yields import Judged, pareto, pareto_of_counts, yields, zone_sizes
from labctl.analysis.zones import Zone, by_zone, zone_of

MAP = ["..XXXX..", ".XXXXXX.", "XXXXXXXX", "XXXXXXXX", ".XXXXXX.", "..XXXX.."]
PLACES = [(x, y) for y, row in enumerate(MAP) for x, mark in enumerate(row) if mark == "X"]


def full(columns: int, rows: int) -> list[tuple[int, int]]:
    return [(x, y) for x in range(columns) for y in range(rows)]


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        pytest.param(PLACES, (12, 12, 12), id="wafer-36"),
        pytest.param([at for at in full(4, 4) if set(at) - {0, 3}], (4, 0, 8), id="wafer-12, dies at two distances"),
        pytest.param(full(4, 4), (4, 8, 4), id="4 x 4"),
        pytest.param(full(6, 4), (8, 8, 8), id="6 x 4"),
        pytest.param(full(6, 6), (12, 12, 12), id="6 x 6"),
        pytest.param(full(20, 20), (140, 128, 132), id="20 x 20"),
        pytest.param([(x, y) for x, y in full(20, 20) if (2 * x - 19) ** 2 + (2 * y - 19) ** 2 <= 400],
                     (112, 96, 108), id="round, 20 across"),
    ],
)  # fmt: skip
def test_three_rings_share_the_dies_of_a_wafer(places: list[tuple[int, int]], expected: tuple[int, int, int]) -> None:
    assert tuple(by_zone([zone_of(at, places) for at in places]).values()) == expected


def test_the_dies_in_the_middle_of_a_wafer_are_the_centre() -> None:
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
