"""An object of PyMeasure or QCoDeS over our transport: made, called within a time, and its errors named.

PyMeasure's instruments take an adapter, QCoDeS's a resource that is open: both are our transport here, with its
deadlines, its log and its resynchronisation. What the object writes is held back until it reads, so that question and
reply are one exchange, or until its call ends. A call that takes too long, or is interrupted, is cut off: its thread
may go on, and none of its messages is sent any more.
"""

import importlib
import importlib.util
import threading
from collections.abc import Callable
from difflib import get_close_matches
from itertools import count
from typing import Any, NoReturn

from instruments.transport import CHECK, LOOK, brief
from labctl.core.errors import BenchError, InstrumentError, LabError
from labctl.core.transport import Transport, Wait
from labctl.core.units import Second

EXTRAS = {"pymeasure": "pymeasure", "qcodes": "qcodes"}
"""What each library is installed with: the extra of this suite."""
_numbers = count(1)


class Line:
    """The wire as the object of another library sees it: it writes, and reads a line.

    Args:
        transport: the wire.
        name: of the instrument in the bench file.
    """

    def __init__(self, transport: Transport, name: str) -> None:
        self._transport, self._name = transport, name
        self._held: str | None = None
        self._owner: threading.Thread | None = None
        self.extra: Second = 0.0
        """Time that a reply may take beside the deadline of a reading."""

    @property
    def resource(self) -> str:
        """Address of the instrument."""
        return self._transport.name

    def lend(self, thread: threading.Thread) -> None:
        """From now on carry the messages of one thread, and of no other."""
        self._held, self._owner = None, thread

    def cut(self) -> None:
        """From now on carry nobody's messages; what is held back is dropped."""
        self._held, self._owner = None, None

    def write(self, text: str) -> None:
        """Take a message; it is sent before the next one, with the question that it is, or at the end of the call."""
        self.flush()
        self._held = text.rstrip("\r\n")

    def read(self) -> str:
        """Send the message that was held back and return the line that answers it."""
        self._require_owner()
        text, self._held = self._held, None
        if text is None:
            raise InstrumentError(
                f"{self._name}: its class reads a line that nothing asked for; an adapter carries one line of reply "
                "for each question"
            )
        return self._transport.query(text, wait=Wait.MEASURE, extra=self.extra)

    def flush(self) -> None:
        """Send what is held back."""
        self._require_owner()
        text, self._held = self._held, None
        if text is not None:
            self._transport.write(text)

    def _require_owner(self) -> None:
        if self._owner is not threading.current_thread():
            raise InstrumentError(f"{self._name}: a call that was given up sends nothing any more")


class Resource:
    """An open resource in pyvisa's words, as QCoDeS takes one; see `Line`."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.resource_name, self.session = line.resource, 0
        self.timeout: float | None = None
        self.read_termination = self.write_termination = "\n"
        self.visalib = self

    def write(self, text: str) -> int:
        """Take a message; return its length."""
        self._line.write(text)
        return len(text)

    def read(self) -> str:
        """Return the line that answers the last message."""
        return self._line.read()

    def query(self, text: str) -> str:
        """Return the line that answers a message."""
        self._line.write(text)
        return self._line.read()

    def clear(self) -> None:
        """Drop what is held back; the transport resynchronises by itself."""
        self._line.flush()

    def close(self) -> None:
        """Do nothing: the connection is its owner's to close."""


def missing(library: str) -> str:
    """Return why a library cannot be used, in operator words; "" if it is installed."""
    if importlib.util.find_spec(library) is not None:
        return ""
    return f"{library} is not installed; python -m pip install 'mtj-labctl[{EXTRAS[library]}]'"


def class_of(path: str) -> type:
    """Return the class that a path names.

    Raises:
        BenchError: there is none, or its module cannot be imported.
    """
    module, _, name = path.rpartition(".")
    if not module:
        raise BenchError(f"'{path}' is no class; expected one such as pymeasure.instruments.keithley.Keithley2400")
    try:
        there = importlib.import_module(module)
        kind = getattr(there, name, None)
    except Exception as error:  # whatever a module raises that is imported
        raise BenchError(f"'{path}' cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(kind, type):
        near = get_close_matches(name, [n for n, value in vars(there).items() if isinstance(value, type)], 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise BenchError(f"'{module}' has no class '{name}'; expected the name of one of its classes{hint}")
    return kind


def _pymeasure(kind: type, line: Line, name: str) -> Any:
    """Return an instrument of PyMeasure over a line."""
    base = importlib.import_module("pymeasure.adapters").Adapter
    words = {
        "_write": lambda self, command, **keywords: line.write(command),
        "_read": lambda self, **keywords: line.read(),
        "flush_read_buffer": lambda self: None,
        "__repr__": lambda self: f"<line to {name}>",
    }
    return kind(type("LineAdapter", (base,), words)())


def _qcodes(kind: type, line: Line, name: str) -> Any:
    """Return an instrument of QCoDeS over a line, under a name of its own; it prints nothing when it is made."""
    quiet = type(kind.__name__, (kind,), {"connect_message": lambda self, *args, **keywords: None})
    letters = "".join(letter if letter.isalnum() else "_" for letter in name)
    return quiet(f"labctl_{letters}_{next(_numbers)}", None, resource=Resource(line), device_clear=False)


MAKERS: dict[str, Callable[[type, Line, str], Any]] = {"pymeasure": _pymeasure, "qcodes": _qcodes}
"""How an object of each library is made."""


class ForeignObject:
    """An object of another library, made when it is first called.

    Args:
        name: of the instrument in the bench file.
        library: whose object it is.
        path: of its class.
        transport: the wire.
        longest: time that a call may take beside that of its messages, s.
    """

    def __init__(self, name: str, library: str, path: str, transport: Transport, longest: Second) -> None:
        self.name, self.line = name, Line(transport, name)
        self._library, self._path, self._longest = library, path, longest
        self._object: Any = None
        self._lost = ""

    def call(self, act: Callable[[Any], Any], text: str, seconds: Second = 0.0) -> Any:
        """Return the result of `act` of the object.

        Args:
            text: what is called, in operator words.
            seconds: how much longer it may take.

        Raises:
            InstrumentError: it raised, or did not come back; the message names instrument, class and call.
            BenchError: its class cannot be imported.
        """
        if self._lost:
            raise InstrumentError(self._lost)
        results: list[Any] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                results.append(act(self._made()))
                self.line.flush()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=work, daemon=True, name=f"{self.name}: {brief(text)}")
        self.line.lend(thread)
        try:
            thread.start()
            thread.join(self._longest + self.line.extra + seconds)
        except BaseException:
            self.line.cut()
            raise
        if thread.is_alive():
            self.line.cut()
            self._lost = (
                f"{self.name}: '{text}' of {self._path} did not come back within "
                f"{self._longest + self.line.extra + seconds:.3g} s; nothing of it is sent any more. {LOOK}, and call "
                "it without this suite"
            )
            raise InstrumentError(self._lost)
        self.line.cut()
        if errors:
            self._raise(errors[0], text)
        return results[0]

    def without(self, act: Callable[[], Any], text: str) -> Any:
        """Return the result of a statement that needs no object; errors are named as in `call`."""
        try:
            return act()
        except Exception as error:
            self._raise(error, text)

    def _raise(self, error: BaseException, text: str) -> NoReturn:
        """Raise the error of a call with instrument, class and call in its text; our own errors stay as they are."""
        if isinstance(error, LabError | KeyboardInterrupt):
            raise error
        what = brief(f"{type(error).__name__}: {error}", 300)
        raise InstrumentError(
            f"{self.name}: '{text}' of {self._path} failed: {what}; that class is not part of this suite: look at its "
            f"documentation, and at 'roles' of {self.name} in the bench file; {CHECK}"
        ) from error

    def _made(self) -> Any:
        if self._object is None:
            if why := missing(self._library):
                raise BenchError(f"{self.name}: {why}")
            self._object = MAKERS[self._library](class_of(self._path), self.line, self.name)
            self.line.flush()
        return self._object

    def close(self) -> None:
        """Let go of the object; the wire stays as it is."""
        made, self._object = self._object, None
        leave = getattr(made, "close", None) if self._library == "qcodes" else None
        if leave is not None and not self._lost:
            self._object = made
            try:
                self.call(lambda _: leave(), "close()")
            finally:
                self._object = None
