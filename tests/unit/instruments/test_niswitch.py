"""NI switch modules over a stand-in of the calls of NI's package."""

import sys

import pytest

from instruments.niswitch import NiSwitch, NiSwitchOptions
from labctl.core.errors import BenchError, InstrumentError
from labctl.testing.emulated import _entry, arranged
from sim_backend.emulators.world import Cables, World

RELAYS = {f"r{row}/c{column}": (f"m.r{row}", f"m.c{column}") for row in range(2) for column in range(3)}


@pytest.fixture
def module():
    """A function that makes drivers, and the package with the module."""
    world = World(Cables({}, {}), lambda x, y, site: None)
    make, _, library = arranged(_entry("niswitch", {"device": "PXI1Slot5"}), world, RELAYS)

    def ready():
        matrix = make()
        matrix.permit = lambda: None
        return matrix

    return ready, library


def test_identity_and_what_is_closed_are_told_and_nothing_moves(module):
    make, library = module
    make().route(["r1/c2"])
    other = make()
    assert other.connect() == "National Instruments,NI PXI-2532,01A2B3C4,1.0.0"
    assert other.closed() == {"r1/c2"}
    assert library.shut == {"r1/c2"}


def test_paths_are_broken_before_others_are_made_and_waited_for(module):
    make, library = module
    calls = []
    move, debounce = library.move, library.debounce
    library.move = lambda names, closed: (calls.append((sorted(names), closed)), move(names, closed=closed))[1]
    library.debounce = lambda: (calls.append("wait"), debounce())[1]
    matrix = make()
    matrix.route(["r0/c0", "r1/c1"])
    matrix.route(["r1/c1", "r0/c2"])
    assert calls == [
        (["r0/c0"], True), (["r1/c1"], True), "wait", (["r0/c0"], False), "wait", (["r0/c2"], True), "wait",
    ]  # fmt: skip


def test_a_relay_that_sticks_is_told(module):
    make, library = module
    matrix = make()
    library.sticks = lambda relay: relay == "r0/c1"
    with pytest.raises(InstrumentError, match=r"under_test: \['r0/c0'\] are closed; \['r0/c0', 'r0/c1'\] were"):
        matrix.route(["r0/c0", "r0/c1"])
    library.sticks = lambda relay: relay == "r0/c0"
    with pytest.raises(InstrumentError, match="paths that were broken exist; none was made after them"):
        matrix.route(["r0/c2"])
    with pytest.raises(InstrumentError, match="1 relays are still closed: kr0c0"):
        matrix.emergency_open()


def test_relays_that_no_path_explains_are_told_and_an_emergency_opens_them(module):
    make, library = module
    matrix = make()
    matrix.connect()
    library.path = lambda one, other, path=library.path: None if one == "r1" else path(one, other)
    library.shut = frozenset({"r1/c0"})
    with pytest.raises(
        InstrumentError, match="1 relays are closed, and 0 paths exist; another program has moved relays"
    ):
        matrix.closed()
    matrix.emergency_open()
    assert not library.shut


@pytest.mark.parametrize("fails", ["disconnect_all", "wait_for_debounce", "get_relay_position"])
def test_an_emergency_goes_on_to_the_reset_whatever_was_raised_before(module, monkeypatch, fails):
    make, library = module
    matrix = make()
    matrix.route(["r0/c0"])
    session, resets, failures = type(matrix._session), [], [OSError("gone")]
    whole, reset = getattr(session, fails), session.reset

    def once(self, *args):
        if failures:
            raise failures.pop()
        return whole(self, *args)

    monkeypatch.setattr(session, fails, once)
    monkeypatch.setattr(session, "reset", lambda self: (resets.append(1), reset(self))[1])
    matrix.emergency_open()
    assert not library.shut
    assert len(resets) == (fails != "wait_for_debounce")
    monkeypatch.setattr(session, "get_relay_position", lambda self, relay: 1 / 0)
    with pytest.raises(InstrumentError, match=r"under_test is NOT verified open; before that: .*ZeroDivisionError"):
        matrix.emergency_open()


def test_what_the_library_raises_names_instrument_module_and_call(module):
    make, library = module
    matrix = make()
    matrix.connect()
    library.path = lambda one, other: 1 / 0
    with pytest.raises(
        InstrumentError, match=r"under_test \(PXI1Slot5\): niswitch can_connect\(r0, c0\) failed: ZeroDiv"
    ):
        matrix.closed()


def test_channels_that_it_lacks_and_another_model_are_refused(module):
    make, library = module
    assert make().unusable(["r0/c0", "r0/c77"]) == ["PXI1Slot5 with its topology has no channel c77"]
    options = NiSwitchOptions(device="PXI1Slot5", model="NI PXI-2535")
    with pytest.raises(BenchError, match="'NI PXI-2532' is at PXI1Slot5, and the bench file says NI PXI-2535"):
        NiSwitch("left", options, library).connect()
    with pytest.raises(
        InstrumentError, match="left: niswitch cannot open 'PXI1Slot9' with topology 'Configured Topology'"
    ):
        NiSwitch("left", NiSwitchOptions(device="PXI1Slot9"), library).connect()


def test_a_package_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "niswitch", None)
    with pytest.raises(
        BenchError, match=r"left: niswitch cannot be imported: .*; python -m pip install niswitch, beside"
    ):
        NiSwitch("left", NiSwitchOptions(device="PXI1Slot5")).connect()


def test_rows_and_columns_are_spelled_as_ni_spells_them():
    spell = _entry("niswitch", {"device": "PXI1Slot5"}).scheme
    assert spell("r0", "c12") == "r0/c12"
    with pytest.raises(ValueError, match="'A' is not a row of an NI matrix, such as r0"):
        spell("A", "c0")
    with pytest.raises(ValueError, match="'1-07' is not a column"):
        spell("r0", "1-07")
