"""The calls of Keysight's IVI-C library KtM960x that a source needs, by ctypes: attributes of channels, and a reading.

Verified against: a stand-in of these calls of this project; on no module and with no installed library.

Numbers of attributes and values are those of the header KtM960x.h, as QCoDeS publishes them
(qcodes/instrument_drivers/Keysight/KtM960xDefs.py), and the form of the calls that of QCoDeS's `KeysightM960x`. A
channel is named by its repeated capability: `Output1`, `Transient1`, `Measurement1` [?]. A call returns 0, a positive
number for a warning and a negative one for an error, whose text `error_query` has.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

from instruments.transport import CHECK
from labctl.core.errors import BenchError, InstrumentError

PATH = r"C:\Program Files\IVI Foundation\IVI\Bin\KtM960x_64.dll"
"""Where Keysight's installer puts the library."""
_TEXT = 256


class Attribute(IntEnum):
    """Attributes, by their numbers in the header."""

    FIRMWARE = 1050510
    MANUFACTURER = 1050511
    MODEL = 1050512
    SERIAL = 1150027
    CURRENT_APERTURE = 1150334
    CURRENT_APERTURE_AUTO = 1150335
    IS_COMPLIANCE = 1150340
    CURRENT_LIMIT = 1150341
    CURRENT_RANGE = 1150346
    VOLTAGE_APERTURE = 1150372
    VOLTAGE_APERTURE_AUTO = 1150373
    AUTO_OFF = 1150391
    AUTO_ON = 1150392
    CURRENT_LEVEL = 1150396
    OUTPUT = 1150403
    OFF_CONDITION = 1150410
    PRIORITY = 1150411
    SHAPE = 1150419
    VOLTAGE_RANGE_AUTO = 1150420
    VOLTAGE_LEVEL = 1150423
    VOLTAGE_RANGE = 1150427
    VOLTAGE_MODE = 1150471
    OPERATION = 1150479
    ACQUISITION = 1150486


MEASURE_ALL = 0
"""Kind of a measurement: voltage, current, resistance, status, time and source value, in this order."""


class KtM960x:
    """One session of the library.

    Args:
        name: of the instrument in the bench file.
        address: of the module, such as ``PXI213::0::INSTR``.
        library: the loaded library; None loads that at `path` when the session is opened.
        path: of the library.
    """

    def __init__(self, name: str, address: str, library: Any = None, path: str = PATH) -> None:
        self._name, self._address, self._library, self._path = name, address, library, path
        self._session: ctypes.c_uint32 | None = None

    def _opened(self) -> ctypes.c_uint32:
        """Open the session without a reset, if it is not open, and return it."""
        if self._session is None:
            if self._library is None:
                try:
                    self._library = ctypes.CDLL(self._path)
                except OSError as error:
                    raise BenchError(
                        f"{self._name}: Keysight's library '{self._path}' cannot be loaded: {error}; install the "
                        "IVI driver KtM960x, or give its 'library'"
                    ) from error
            session = ctypes.c_uint32(0)
            with self._converted(f"InitWithOptions({self._address})"):
                address = self._address.encode("ascii")
                status = self._library.KtM960x_InitWithOptions(address, 1, 0, b"", ctypes.byref(session))
            if status < 0:
                raise InstrumentError(
                    f"{self._name}: KtM960x cannot open '{self._address}': error {status}; check that the chassis is "
                    "on, and look for the module in Keysight Connection Expert"
                )
            self._session = session
        return self._session

    @contextmanager
    def _converted(self, call: str) -> Iterator[None]:
        """Turn whatever ctypes raises in a call into an InstrumentError that names it."""
        try:
            yield
        except Exception as error:
            raise InstrumentError(
                f"{self._name}: KtM960x_{call} failed: {type(error).__name__}: {error}; {CHECK}"
            ) from error

    def _call(self, function: str, *arguments: Any) -> None:
        """Call a function of the library on the session; InstrumentError if it returns an error or ctypes raises."""
        session = self._opened()
        words = ", ".join(str(a.decode() if isinstance(a, bytes) else a) for a in arguments[:2])
        with self._converted(f"{function}({words})"):
            status = getattr(self._library, f"KtM960x_{function}")(session, *arguments)
        if status < 0:
            code, text = ctypes.c_int32(0), ctypes.create_string_buffer(_TEXT)
            with self._converted("error_query"):
                self._library.KtM960x_error_query(session, ctypes.byref(code), text)
            reason = f"{status} {text.value.decode('utf-8', 'replace')}".strip()
            raise InstrumentError(f"{self._name}: KtM960x_{function}({words}) failed: {reason}; {CHECK}")

    def text(self, attribute: Attribute) -> str:
        """Return a text of the module."""
        text = ctypes.create_string_buffer(_TEXT)
        self._call("GetAttributeViString", b"", int(attribute), _TEXT, text)
        return text.value.decode("utf-8", "replace").strip()

    def real(self, part: str, attribute: Attribute) -> float:
        """Return a number of a channel."""
        value = ctypes.c_double(0.0)
        self._call("GetAttributeViReal64", part.encode(), int(attribute), ctypes.byref(value))
        return value.value

    def set_real(self, part: str, attribute: Attribute, value: float) -> None:
        """Set a number of a channel."""
        self._call("SetAttributeViReal64", part.encode(), int(attribute), ctypes.c_double(value))

    def integer(self, part: str, attribute: Attribute) -> int:
        """Return a whole number of a channel."""
        value = ctypes.c_int32(0)
        self._call("GetAttributeViInt32", part.encode(), int(attribute), ctypes.byref(value))
        return value.value

    def set_integer(self, part: str, attribute: Attribute, value: int) -> None:
        """Set a whole number of a channel."""
        self._call("SetAttributeViInt32", part.encode(), int(attribute), ctypes.c_int32(value))

    def boolean(self, part: str, attribute: Attribute) -> bool:
        """Return whether something of a channel is so."""
        value = ctypes.c_uint16(0)
        self._call("GetAttributeViBoolean", part.encode(), int(attribute), ctypes.byref(value))
        return bool(value.value)

    def set_boolean(self, part: str, attribute: Attribute, value: bool) -> None:
        """Set whether something of a channel is so."""
        self._call("SetAttributeViBoolean", part.encode(), int(attribute), ctypes.c_uint16(int(value)))

    def measure(self, channel: int) -> list[float]:
        """Take a reading of one channel; return voltage, current, resistance, status, time and source value."""
        channels, values, count = (ctypes.c_int32 * 1)(channel), (ctypes.c_double * 16)(), ctypes.c_int32(0)
        self._call("MeasurementMeasure", MEASURE_ALL, 1, channels, 16, values, ctypes.byref(count))
        if count.value < 6:
            what = f"a reading of channel {channel} has {count.value} values; expected 6"
            raise InstrumentError(f"{self._name}: {what}; {CHECK}")
        return list(values[: count.value])

    def abort(self, channels: list[int]) -> None:
        """End what channels do by themselves."""
        self._call("Abort", len(channels), (ctypes.c_int32 * len(channels))(*channels))

    def close(self) -> None:
        """End the session; outputs stay as they are."""
        if self._session is not None:
            session, self._session = self._session, None
            with self._converted("close"):
                self._library.KtM960x_close(session)
