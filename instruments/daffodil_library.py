"""A Daffodil board through any object of the public library of its makers, as a body: no server, no wire.

Verified against: a fake of the calls of such an object (`sim_backend.emulators.daffodil_object`), and the library's own
simulator, unmodified (tests/golden/test_judge_daffodil_library.py); not on a board.

It is the driver of the board with our server in this process, whose engine has the object below it
(`instruments.daffodil_object`): codes, rests, limits and write plans are those of `daffodil`. Connecting makes no
object, since that of the physical board initialises it; the first operation, or off, does.
"""

import contextlib
import importlib
import io
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import Field

from instruments.daffodil import Daffodil
from instruments.daffodil_events import Pace
from instruments.daffodil_object import ObjectHardware
from instruments.daffodil_plan import Options as BoardOptions
from instruments.daffodil_plan import Plan
from instruments.transport import BytesTransport
from labctl.boards.daffodil import registers as reg
from labctl.boards.daffodil.engine import Engine
from labctl.boards.daffodil.service import Service
from labctl.core.driver import Driver, DriverKind, Wire
from labctl.core.errors import BenchError, InstrumentError, LabError
from labctl.core.source import ChannelState
from labctl.core.units import FloatArray, IntArray, Second

ALIKE = 0.01
"""What the feedback of the bench file and that of the object may differ by, as a part of it."""


@dataclass(frozen=True)
class LibraryPace(Pace):
    """Times of an object, whose events of reads convert every row of the board."""

    def read_time(self, aperture: Second, conversions: IntArray) -> FloatArray:
        """Return how long the events of reads last, s."""
        return super().read_time(aperture, np.where(conversions > 0, reg.LINES, 0))


class Options(BoardOptions):
    """Options of a board through the library in the bench file."""

    class_: str = Field(alias="class", description="the class, as it is imported, or a function that returns an object")
    arguments: tuple[str, ...] = Field(default=(), description="what it is called with")
    folder: str | None = Field(
        default=None, min_length=1, description="folder that it is imported from, where the library is not installed"
    )

    @property
    def pace(self) -> Pace:
        """Times of the board."""
        return LibraryPace(self.clock, self.settle, self.rest, self.conversion, self.dac_write)


class Library(Protocol):
    """Makes the object, and is a clock."""

    def find(self, options: Options) -> str:
        """Return the identity of what would be made; BenchError if it is not there."""
        ...

    def make(self, options: Options) -> Any:
        """Return the object."""
        ...

    def now(self) -> Second:
        """Return the time, s."""
        ...

    def wait(self, seconds: Second) -> None:
        """Let a time pass, s."""
        ...


class Installed:
    """The library as it is installed, or as it lies in a folder; it is imported when the board is connected."""

    def __init__(self) -> None:
        self._untimed = False
        self._at: Second = 0.0

    def find(self, options: Options) -> str:
        """Return the identity of what would be made; BenchError if it cannot be imported."""
        made = self._maker(options)
        version = getattr(sys.modules.get(made.__module__.partition(".")[0]), "__version__", "of unknown version")
        return f"usnistgov,{options.class_.rpartition('.')[2]},,daffodillib {version}"

    def _maker(self, options: Options) -> Any:
        module, _, name = options.class_.rpartition(".")
        if options.folder is not None and options.folder not in sys.path:
            if not Path(options.folder).is_dir():
                raise BenchError(f"folder {options.folder}: there is none; expected a clone of daffodil-lib")
            sys.path.insert(0, options.folder)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # a module of it prints
                return getattr(importlib.import_module(module), name)
        except Exception as error:
            raise BenchError(
                f"'{options.class_}' cannot be imported: {type(error).__name__}: {error}; daffodil-lib of the board's "
                "makers is in no registry: clone github.com/usnistgov/daffodil-lib, and name its folder by 'folder'"
            ) from error

    def make(self, options: Options) -> Any:
        """Return the object."""
        with contextlib.redirect_stdout(io.StringIO()):
            board = self._maker(options)(*options.arguments)
        self._untimed = getattr(board, "sim_device", None) is not None
        return board

    def now(self) -> Second:
        """Return the time: of a simulator, which has none, that of what was waited for."""
        return self._at if self._untimed else time.monotonic()

    def wait(self, seconds: Second) -> None:
        """Let a time pass, to the microsecond; on a simulator none does."""
        self._at += seconds
        if self._untimed:
            return
        end = time.monotonic() + seconds
        if seconds > 2e-3:
            time.sleep(seconds - 1e-3)
        while time.monotonic() < end:
            pass


class Served:
    """Our server over an object, in this process; both are made when the first line is heard.

    Args:
        name: of the board in the bench file.
    """

    def __init__(self, name: str, options: Options, library: Library) -> None:
        self._name, self._options, self._library = name, options, library
        self._service: Service | None = None
        self.hardware: ObjectHardware | None = None

    @property
    def made(self) -> bool:
        """Whether there is an object, and the board is at rest or this server's."""
        return self._service is not None

    def handle(self, data: bytes) -> bytes:
        """Answer lines."""
        return b"".join(
            (self._answers().handle(line.decode("ascii")) + "\n").encode("ascii", "replace")
            for line in data.split(b"\n")
            if line.strip()
        )

    def _answers(self) -> Service:
        """Return the server, made if there is none; InstrumentError whatever the library raises."""
        if self._service is None:
            options, library = self._options, self._library
            try:
                board = library.make(options)
                self._fits(board)
                self.hardware = ObjectHardware(
                    board, options.reference_code, options.swapped_gates, library.now, library.wait
                )
                engine = Engine(self.hardware)
                engine.initialise()
            except LabError:
                raise
            except Exception as error:
                raise InstrumentError(
                    f"{self._name}: {options.class_} could not be made, and brought to rest: "
                    f"{type(error).__name__}: {error}; look at its documentation"
                ) from error
            self._service = Service(engine, "", library.now)
        return self._service

    def _fits(self, board: Any) -> None:
        shape = int(board.kernels), int(board.xdim), int(board.ydim)
        if shape != (reg.KERNELS, reg.LINES, reg.LINES):
            raise BenchError(
                f"{self._name}: {self._options.class_} has {shape[0]} kernels of {shape[1]} x {shape[2]}; expected "
                f"{reg.KERNELS} of {reg.LINES} x {reg.LINES}"
            )

    def drop(self) -> None:
        """Let go of the object, whose lines are at rest."""
        self._service = self.hardware = None


class DaffodilLibrary(Daffodil):
    """A Daffodil board through an object of the library.

    Args:
        name: in the bench file.
        library: makes the object, or is in its place.
    """

    release = None  # type: ignore[assignment]
    """The library has no call that takes the power from the chip."""

    def __init__(self, name: str, options: Options, library: Library) -> None:
        self._library, self._object = library, options
        self._served = Served(name, options, library)
        super().__init__(name, options, BytesTransport(self._served, options.class_, called=name, probe=None))

    def connect(self) -> str:
        """Return the identity, without a serial number, which the library does not know; no object is made."""
        return self._library.find(self._object)

    def _set_up(self) -> None:
        """Set the board up, and compare its feedback with that of the bench file before its zeros are measured."""
        super()._set_up()
        hardware = self._served.hardware
        assert hardware is not None
        expected = self._object.pots[1]
        has = np.array([hardware.ohm(column) for column in range(len(expected))])
        if (far := np.abs(has / expected - 1) > ALIKE).any():
            worst = int(np.flatnonzero(far)[0])
            raise InstrumentError(
                f"{self.name}: the feedback of column {worst} is {has[worst]:.6g} ohm as {self._object.class_} has it, "
                f"and {expected[worst]:.6g} ohm by 'potentiometers' of the bench file; take the table that the library "
                "reads"
            )

    def state(self) -> Mapping[str, ChannelState]:
        """Return the lines that are not at rest; none of a board of which there is no object, which tells nothing."""
        return super().state() if self._served.made else {}

    def diagnosis(self) -> tuple[list[str], list[str]]:
        """Return what is known of the board."""
        if not self._served.made:
            return ["not taken: what its lines do is not known; taking it initialises it"], []
        return super().diagnosis()

    def verify_off(self) -> None:
        """Read back that every line is at rest; InstrumentError if one is not, or there is no object."""
        if not self._served.made:
            raise InstrumentError(f"{self.name}: not taken: whether it is off is not known")
        super().verify_off()

    def close(self) -> None:
        """Have the board at rest, unless an operation broke off, and let go of the object."""
        super().close()
        self._served.drop()


def _make(name: str, options: Options, library: Library | None = None) -> DaffodilLibrary:
    """Return the driver of a board through the library."""
    return DaffodilLibrary(name, options, library or Installed())


DRIVER = Driver(
    DriverKind.BOARD,
    _make,
    Options,
    Wire.NONE,
    geometry=lambda options: options.geometry,
    planned=Plan,
    emulator="daffodil_library",
    location=lambda options: f"Daffodil board of this computer, {options.class_}",
)
