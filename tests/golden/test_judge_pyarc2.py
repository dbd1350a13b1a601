"""The fake of pyarc2's calls against pyarc2 itself, on a computer without a board."""

import inspect

import pytest

from instruments.arc_two import ArcTwo
from instruments.arc_two_session import Installed
from labctl.core.errors import BenchError
from sim_backend.emulators import arc_two as fake
from tests.small_array import array, options_of

pyarc2 = pytest.importorskip("pyarc2", reason="pyarc2 is not installed (extra arctwo)")
pytestmark = pytest.mark.judge


@pytest.mark.parametrize("call", fake.CALLS)
def test_a_call_that_is_faked_has_the_parameters_of_the_librarys(call):
    own, theirs = (
        [name for name in inspect.signature(getattr(cls, call)).parameters if name != "self"]
        for cls in (fake.FakeInstrument, pyarc2.Instrument)
    )
    assert own == theirs


def test_the_names_of_modes_and_errors_are_those_of_the_library():
    for name in ("ControlMode", "DataMode", "ReadType"):
        for member in getattr(fake, name):
            assert hasattr(getattr(pyarc2, name), member.name)
    assert issubclass(pyarc2.ArC2Error, Exception)
    with pytest.raises(pyarc2.ArC2Error):
        pyarc2.Instrument(99, "fw.bin")


def test_a_board_that_is_not_there_is_refused_by_its_number():
    assert isinstance(pyarc2.find_ids(), list)
    board = ArcTwo("board", options_of(array(), id=99), Installed())
    for act in (board.connect, board.off):
        with pytest.raises(BenchError, match="board: there is no board 99"):
            act()
