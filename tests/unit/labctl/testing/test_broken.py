"""Every check is broken by one that is made for it, and by no good one."""

import pytest

from instruments.entry import Entry
from labctl.testing import broken
from labctl.testing.bodies import BodyUnderTest
from labctl.testing.contract import failures_of
from labctl.testing.emulated import NAME, PLACES, arranged, resistors, seen_pulses
from labctl.testing.matrices import MatrixUnderTest
from labctl.testing.probers import ProberUnderTest
from labctl.testing.protocols import ProtocolUnderTest
from labctl.testing.pulse_sources import PulseSourceUnderTest
from labctl.testing.sources import SourceUnderTest, at_rest
from protocols.survey import Survey
from sim_backend.description import DieDescription
from sim_backend.die import SimDie
from sim_backend.emulators.world import Cables, World
from tests.unit.labctl.testing.test_emulated import GENERIC


def entry(driver, **options):
    return Entry.model_validate({"driver": driver, "resource": NAME, **options})


def source(wrap):
    good = entry("generic_source", **GENERIC)
    make, _, _ = arranged(good, resistors(good.capabilities.channels))
    subject = SourceUnderTest(lambda: wrap(make()), good.capabilities, 1e4)
    return lambda: subject, at_rest


def matrix(wrap):
    relays = {f"A/{k}": (f"{NAME}.A", f"{NAME}.{k}") for k in range(3)}
    make, world, _ = arranged(entry("generic_matrix"), World(Cables({}, {}), lambda x, y, site: None), relays)
    moves, switch, names = [], world.switch, {ends: relay for relay, ends in relays.items()}

    def seen(*args, **keywords):
        switch(*args, **keywords)
        moves.append(frozenset(names[ends] for ends in world.closed))

    world.switch = seen
    subject = MatrixUnderTest(lambda: wrap(make()), list(relays), "B/9", lambda: moves)
    return lambda: subject, MatrixUnderTest.rest


def prober(wrap):
    world = World(Cables({}, {}), lambda x, y, site: None, place=(*PLACES[0], 0), in_contact=False)
    make, world, _ = arranged(entry("generic_prober"), world)
    subject = ProberUnderTest(lambda: wrap(make()), PLACES, (9, 9), lambda: world.in_contact)
    return lambda: subject, ProberUnderTest.rest


def pulse_source(wrap):
    good = entry("keysight81160a")
    world, made = seen_pulses(good.pulses.channels)
    make, _, _ = arranged(good, world)
    subject = PulseSourceUnderTest(lambda: wrap(make()), good.pulses, lambda: made)
    return lambda: subject, PulseSourceUnderTest.rest


def die(polarity=1):
    description = {
        "name": "good",
        "geometry": {"kernels": 2, "n_rows": 4, "n_cols": 3},
        "polarity": polarity,
        "junction": {"diameter": "80 nm"},
        "simulation": {"ideal": True},
    }
    return SimDie(DieDescription.model_validate(description, context={"file": True}), seed=1, name="good")


def body(wrap):
    subject = BodyUnderTest(lambda polarity: wrap(die(polarity)))
    return lambda: subject, lambda subject: None


def protocol(wrap):
    subject = ProtocolUnderTest(wrap(Survey()), die)
    return lambda: subject, lambda subject: None


ARRANGE = {
    "source": source, "matrix": matrix, "prober": prober, "pulse source": pulse_source, "body": body,
    "protocol": protocol,
}  # fmt: skip
CASES = [(kind, check) for kind, checks in broken.CHECKS.items() for check in checks]


@pytest.mark.parametrize("kind", ARRANGE)
def test_a_good_one_breaks_none(kind):
    assert failures_of(broken.CHECKS[kind], *ARRANGE[kind](lambda good: good)) == {}


@pytest.mark.parametrize(("kind", "check"), CASES, ids=[f"{kind}-{check.__name__}" for kind, check in CASES])
def test_each_check_is_broken_by_the_one_that_is_made_for_it(kind, check):
    wrap = broken.BROKEN[kind][check.__name__]
    assert check.__name__ in failures_of([check], *ARRANGE[kind](wrap))


@pytest.mark.parametrize("kind", ARRANGE)
def test_there_is_a_broken_one_for_every_check(kind):
    assert set(broken.BROKEN[kind]) == {check.__name__ for check in broken.CHECKS[kind]}
