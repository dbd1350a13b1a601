"""NI switch modules with a matrix topology, by NI's own Python package `niswitch`. Not verified on a real instrument.

Verified against: a stand-in of the calls of `niswitch.Session`, written from the documentation that NI publishes of
them (nimi-python, docs/niswitch); on no module and with no installed NI-SWITCH.

A module is opened at its first use, without a reset, so that relays stay as they are [?]. No relay moves before a
permit has verified that nothing is energised; paths are broken before others are made, and what is closed is read
back: every pair of a row and a column is asked for its path, and the positions of all relays have to add up to them.
The library blocks: what makes a bench safe gives up a call of it that does not come back, after a time.
"""

import importlib
import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from pydantic import Field

from instruments.transport import CHECK, LOOK
from labctl.core.driver import Driver, DriverKind, Wire
from labctl.core.errors import BenchError, InstrumentError, LabError
from labctl.core.model import Model
from labctl.core.switch_matrix import Permit, Scheme, refuse
from labctl.core.units import Second

LIBRARY = "niswitch"
"""NI's package; it needs the NI-SWITCH driver of Windows or Linux."""
_ROW, _COLUMN = re.compile(r"\w*r\d+"), re.compile(r"\w*c\d+")


class NiSwitchOptions(Model):
    """Options of an NI switch module in the bench file."""

    device: str = Field(min_length=1, description="resource name of the module, as in NI MAX, such as PXI1Slot5")
    topology: str = Field(
        default="Configured Topology", min_length=1, description="topology; that of NI MAX unless another one is named"
    )
    model: str = Field(default="", description="model that has to answer, such as NI PXI-2532; any if left out")
    debounce: Second = Field(default=5.0, gt=0, description="longest time that relays take to settle")


def scheme(options: NiSwitchOptions) -> Scheme:
    """Return the spelling of a crosspoint: channels of a row and a column, such as ``r0/c12``.

    >>> scheme(NiSwitchOptions(device="PXI1Slot5"))("r0", "c12")
    'r0/c12'
    """

    def crosspoint(row: str, column: str) -> str:
        if not _ROW.fullmatch(row):
            raise ValueError(f"'{row}' is not a row of an NI matrix, such as r0")
        if not _COLUMN.fullmatch(column):
            raise ValueError(f"'{column}' is not a column of an NI matrix, such as c12")
        return f"{row}/{column}"

    return crosspoint


class NiSwitch:
    """One module.

    Args:
        name: in the bench file.
        options: from the bench file.
        library: the package; None imports it when the module is opened.
        permit: raises unless nothing is energised.
    """

    def __init__(self, name: str, options: NiSwitchOptions, library: Any = None, permit: Permit = refuse) -> None:
        self.name, self.permit = name, permit
        self._options, self._library = options, library
        self._session: Any = None
        self._channels: tuple[tuple[str, ...], tuple[str, ...]] = (), ()
        self._relays: tuple[str, ...] = ()

    # -- the library

    def _call(self, method: str, *arguments: Any) -> Any:
        """Return the result of a method or a property of the session; InstrumentError names it, whatever it raises."""
        try:
            value = getattr(self._opened(), method)
            return value(*arguments) if callable(value) else value
        except LabError:
            raise
        except Exception as error:
            words = ", ".join(map(str, arguments))
            raise InstrumentError(
                f"{self.name} ({self._options.device}): niswitch {method}({words}) failed: {type(error).__name__}: "
                f"{error}; {CHECK}"
            ) from error

    def _opened(self) -> Any:
        if self._session is None:
            device, topology = self._options.device, self._options.topology
            if self._library is None:
                try:
                    self._library = importlib.import_module(LIBRARY)
                except Exception as error:
                    raise BenchError(
                        f"{self.name}: {LIBRARY} cannot be imported: {error}; python -m pip install {LIBRARY}, beside "
                        "NI's driver NI-SWITCH"
                    ) from error
            try:
                self._session = self._library.Session(device, topology=topology, simulate=False, reset_device=False)
            except Exception as error:
                raise InstrumentError(
                    f"{self.name}: niswitch cannot open '{device}' with topology '{topology}': {type(error).__name__}: "
                    f"{error}; {LOOK}, and look for it in NI MAX"
                ) from error
        return self._session

    def _tables(self) -> None:
        """Read which channels and relays the module has."""
        if self._relays:
            return
        count, relays = int(self._call("channel_count")), int(self._call("number_of_relays"))
        names = [str(self._call("get_channel_name", index)) for index in range(1, 1 + count)]
        rows = tuple(name for name in names if _ROW.fullmatch(name))
        self._channels = rows, tuple(name for name in names if _COLUMN.fullmatch(name))
        self._relays = tuple(str(self._call("get_relay_name", index)) for index in range(1, 1 + relays))

    # -- the interface of a matrix

    def connect(self) -> str:
        """Read identity and the closed set; open no relay and close none.

        Raises:
            BenchError: the package is not installed, or another model answers.
            InstrumentError: the module cannot be opened.
        """
        maker, model, serial, firmware = (
            str(self._call(part))
            for part in ("instrument_manufacturer", "instrument_model", "serial_number", "instrument_firmware_revision")
        )
        if self._options.model and model != self._options.model:
            raise BenchError(
                f"{self.name}: '{model}' is at {self._options.device}, and the bench file says {self._options.model}; "
                "nothing was changed"
            )
        self.closed()
        return ",".join((maker, model, serial, firmware))

    def closed(self) -> frozenset[str]:
        """Read the closed crosspoints.

        Raises:
            InstrumentError: other relays than those of the paths are closed as well.
        """
        self._tables()
        exists = self._library.PathCapability.PATH_EXISTS
        rows, columns = self._channels
        closed = frozenset(
            f"{row}/{column}" for row in rows for column in columns if self._call("can_connect", row, column) == exists
        )
        shut = self._library.RelayPosition.CLOSED
        count = sum(self._call("get_relay_position", relay) == shut for relay in self._relays)
        if count != len(closed):  # [?] one relay a crosspoint, and no other
            raise InstrumentError(
                f"{self.name}: {count} relays are closed, and {len(closed)} paths exist; another program has moved "
                "relays; 'labctl off' opens all"
            )
        return closed

    def unusable(self, crosspoints: Iterable[str]) -> list[str]:
        """Return the crosspoints that the module has no channels for, in operator words."""
        self._tables()
        lacking = sorted(
            {part for c in crosspoints for part in c.split("/")} - {*self._channels[0], *self._channels[1]}
        )
        return [f"{self._options.device} with its topology has no channel {', '.join(lacking)}"] if lacking else []

    def route(self, closed: Iterable[str]) -> None:
        """Close exactly `closed`: break, then make, then read back; nothing moves if it is so already.

        Raises:
            InstrumentError: the permit refused, it has no such channels, or another closed set is read back.
        """
        wanted = frozenset(closed)
        if lacking := self.unusable(wanted):
            raise InstrumentError(f"{self.name}: {'; '.join(lacking)}; nothing moved")
        present = self.closed()
        if present == wanted:
            return
        self.permit()
        self._each("disconnect", sorted(present - wanted))
        if self.closed() - wanted:
            raise InstrumentError(f"{self.name}: paths that were broken exist; none was made after them; {CHECK}")
        self._each("connect", sorted(wanted - present))
        after = self.closed()
        if after != wanted:
            raise InstrumentError(f"{self.name}: {sorted(after)} are closed; {sorted(wanted)} were expected; {CHECK}")

    def _each(self, method: str, crosspoints: Sequence[str]) -> None:
        """Make or break paths, and wait until relays have settled."""
        for crosspoint in crosspoints:
            self._call(method, *crosspoint.split("/"))
        if crosspoints:
            self._call("wait_for_debounce", timedelta(seconds=self._options.debounce))

    def emergency_open(self) -> frozenset[str]:
        """Open every relay before anything is asked, then verify; return nothing of what was closed.

        Paths that this session did not make [?] need a reset, which comes if relays are closed still, or if their
        positions could not be read.

        Raises:
            InstrumentError: relays are closed after the reset, or their positions cannot be read.
        """
        failures: list[str] = []
        if self._shut_after("disconnect_all", failures) == []:
            return frozenset()
        still = self._shut_after("reset", failures)
        before = f"; before that: {'; '.join(dict.fromkeys(failures))}" if failures else ""
        if still is None:
            raise InstrumentError(f"{self.name} is NOT verified open{before}")
        if still:
            names = ", ".join(still[:8])
            raise InstrumentError(f"{self.name}: {len(still)} relays are still closed: {names}; {CHECK}{before}")
        return frozenset()

    def _shut_after(self, method: str, failures: list[str]) -> list[str] | None:
        """Call a method, wait, and return the relays that are closed then, whatever the calls before raised.

        Args:
            failures: what calls raised is appended.

        Returns:
            None if the positions could not be read.
        """
        wait = partial(self._call, "wait_for_debounce", timedelta(seconds=self._options.debounce))
        for call in (partial(self._call, method), wait):
            try:
                call()
            except InstrumentError as error:
                failures.append(str(error))
        try:
            self._tables()
            shut = self._library.RelayPosition.CLOSED
            return [relay for relay in self._relays if self._call("get_relay_position", relay) == shut]
        except InstrumentError as error:
            failures.append(str(error))
            return None

    def close(self) -> None:
        """Close the session; relays stay as they are [?]."""
        session, self._session = self._session, None
        if session is not None:
            try:
                session.close()
            except Exception as error:
                raise InstrumentError(
                    f"{self.name}: niswitch close() failed: {type(error).__name__}: {error}"
                ) from error


def _make(name: str, options: NiSwitchOptions, library: Any = None) -> NiSwitch:
    """Return an NI switch module."""
    return NiSwitch(name, options, library)


DRIVER = Driver(
    DriverKind.MATRIX,
    _make,
    NiSwitchOptions,
    wire=Wire.NONE,
    scheme=scheme,
    emulator="niswitch",
    location=lambda options: f"niswitch {options.device}",
)
