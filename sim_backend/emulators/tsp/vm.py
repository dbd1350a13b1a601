"""A real Lua, without access to anything outside the instrument.

No file, no process, no module, no bytecode, no coroutine (its hooks are its own, so it would escape the count). Every
chunk has a budget of instructions and of seconds of the processor, without those of the instrument's commands, so that
no legal script fails on a busy computer; when it is spent the chunk ends in an error that `pcall` cannot catch. What
the processor takes is never more than what the clock shows, and the clock is read ten times as fast: the processor is
asked only once a chunk without its commands has taken its budget by the clock. Nothing of C that a chunk calls takes
longer than some tenths of a second: what might is done in Lua (`patterns`), where it is counted. Memory is bounded by
the allocator. Python objects never appear in Lua: functions are wrapped in Lua closures.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lupa import lua51

from sim_backend.emulators.tsp.host import HOST
from sim_backend.emulators.tsp.patterns import PATTERNS
from sim_backend.emulators.tsp.translate import PRELUDE, TspSyntaxError, translate

Callback = Callable[..., Any]

EXIT = "the script ends by exit()"
"""Error that ends a script, and is none."""
_STEPS = 10**6
"""Steps of a pattern that may be done in C, by their upper bound; more are done in Lua, where they are counted."""
_BYTES = 10**8
"""Bytes compared in C by one search for a text."""
_PATTERN = 1000
"""Longest pattern, characters; the depth of a match in C grows with it."""
_TEXT = 4 << 20
"""Longest text of `string.rep`, bytes."""
_SOURCE = 1 << 20
"""Longest chunk, bytes."""
_SPECIAL = frozenset("^$*+?.([%-")
_BACK = re.compile("%[b0-9]")
"""What walks over a part of the text for each place that it is tried at."""
_EXACT = 0.1
"""Part of the budget of a command, by the clock, from which on its time of the processor is measured."""
_KEPT, _SHORT = 256, 2000
"""Compiled messages that are kept, and the longest of them, characters."""


class LuaError(Exception):
    """A chunk failed while it ran."""


class Refusal(Exception):
    """A command is refused: goes into the error queue, the old setting stays, the script runs on."""

    def __init__(self, code: int, message: str, severity: int = 20) -> None:
        super().__init__(message)
        self.code, self.message, self.severity = code, message, severity


class Fatal(Exception):
    """A command cannot be carried out: the script ends with a run-time error."""


@dataclass(frozen=True)
class Node:
    """One instrument object, as it was made: how its attributes are read and written, and what lies below it."""

    get: Mapping[str | int, Callback]
    set: Mapping[str | int, Callback]
    objects: Mapping[str | int, Any]


class Lua:
    """One sandboxed interpreter.

    Args:
        refuse: called with every `Refusal` of a callback.
        operators: functions of `&`, `|`, `^^`, `<<` and `>>`, in this order.
        instructions: budget of one chunk.
        seconds: the same in time of the processor, because a single instruction can take long.
        command: budget of one command of the instrument, which the script does not pay, in s of the processor.
        memory: bytes.
        pause: called every thousand instructions.
    """

    def __init__(
        self,
        refuse: Callable[[Refusal], None],
        operators: Sequence[Callback],
        *,
        instructions: int = 20_000_000,
        seconds: float = 20.0,
        command: float = 120.0,
        memory: int = 64 << 20,
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        self._refuse, self._pause = refuse, pause
        self.instructions, self.seconds, self.command = instructions, seconds, command
        self._left, self._began_clock, self._commands = 0, 0.0, 0.0
        self._began: float | None = None
        """Time of the processor at the first count of instructions of the chunk."""
        self._deadline: float | None = None
        """When the chunk has to end, in s of the processor; None as long as the clock shows that it has time."""
        self._command_began = 0.0
        self._command_ends: float | None = None
        """When the command has to end, in s of the processor; None as long as the clock shows that it has time."""
        self._crash: BaseException | None = None
        self.abort = False
        self._runtime: Any = lua51.LuaRuntime(
            encoding="latin-1",
            register_eval=False,
            register_builtins=False,
            unpack_returned_tuples=True,
            max_memory=memory,
            attribute_filter=_no_attributes,
        )
        self._host: Any = self._runtime.execute(
            HOST, self._poll, self._how, 1000, EXIT, self._runtime.execute(PATTERNS)
        )
        self.globals: Any = self._host.env
        self._start, self._stop = self._host.start, self._host.stop
        self._messages: dict[str, Any] = {}
        self._things: list[Any] = []
        self._nodes: list[Node] = []
        self._deny = self.function(self._refuse_write)
        self._bits = (*(self.function(f) for f in operators), self._host.each)
        self.globals["loadstring"] = self.function(self._loadstring)

    # -- chunks

    def compile(self, source: str) -> Any:
        """Return a chunk as a Lua function ready to `run`; TspSyntaxError if it does not parse."""
        if source.startswith("\x1b"):
            raise TspSyntaxError(1, "unexpected symbol near `\\27'")
        if len(source) > _SOURCE:
            raise TspSyntaxError(1, "the chunk is too long")
        text = translate(source)
        chunk = self._host.load(text, "=chunk", *(self._bits if text.startswith(PRELUDE) else ()))
        if isinstance(chunk, tuple):
            raise TspSyntaxError(*_where(str(chunk[1])))
        return chunk

    def message(self, source: str) -> Any:
        """Return as `compile` does the chunk of a message, which hosts send again and again.

        A chunk is a function of its text and the operators alone: it has no upvalue, and no script can get at it.
        """
        chunk = self._messages.get(source)
        if chunk is None:
            chunk = self.compile(source)
            if len(source) <= _SHORT:
                if len(self._messages) >= _KEPT:
                    del self._messages[next(iter(self._messages))]
                self._messages[source] = chunk
        return chunk

    def run(self, chunk: Any) -> None:
        """Run a compiled chunk within its budget; LuaError if it fails."""
        self._left, self._deadline, self._commands = self.instructions, None, 0.0
        self._began, self._began_clock = None, time.perf_counter()
        self._crash = None
        self._start()
        try:
            chunk()
        except lua51.LuaMemoryError as error:
            raise LuaError("at line 1: not enough memory") from error
        except lua51.LuaError as error:
            if self._crash is None and str(error).partition("\n")[0] != EXIT:
                raise LuaError("at line {}: {}".format(*_where(str(error)))) from error
        finally:
            try:
                self._stop()
            except lua51.LuaError:  # a chunk that has to end, and whose count has run out in here; it has begun anew
                self._stop()
            if self._crash is not None:
                raise self._crash

    def begin_command(self) -> None:
        """Begin the budget of one command of the instrument."""
        self._command_began, self._command_ends = time.perf_counter(), None

    @property
    def ends_command(self) -> str | None:
        """Why the command that is carried out has to end, None if it goes on; asked wherever it lets time pass."""
        if self.abort:
            return "script aborted"
        if self._command_ends is None:
            if time.perf_counter() - self._command_began <= _EXACT * self.command:
                return None
            self._command_ends = time.thread_time() + (1 - _EXACT) * self.command
        return "command deadline exceeded" if time.thread_time() > self._command_ends else None

    def _poll(self, step: int) -> str | None:
        """Count instructions, let others in, and return why the chunk has to end, None if it goes on."""
        self._left -= step
        self._pause()
        if self.abort:
            return "script aborted"
        if self._left < 0:
            return "instruction limit exceeded"
        if self._began is None:
            self._began = time.thread_time()
        if self._deadline is None:
            if time.perf_counter() - self._began_clock - self._commands <= self.seconds:
                return None
            now = time.thread_time()  # commands have taken at most what they took by the clock
            self._deadline = now + self.seconds - max(0.0, now - self._began - self._commands)
        return "script deadline exceeded" if time.thread_time() > self._deadline else None

    def _how(self, kind: str, size: float, argument: Any) -> tuple[str, str | None]:
        """Return how a function of strings is carried out, "native" or "counted", and why it is refused if it is.

        Args:
            kind: "rep", "plain" for a text, "find" and "pattern" for a pattern.
            size: of the text, bytes.
            argument: the number of repetitions, or the pattern.
        """
        if kind == "rep":
            large = max(size, 1) * max(float(argument), 0.0) > _TEXT
            return "native", "resulting string too large" if large else None
        pattern = str(argument)
        if kind == "plain" or (kind == "find" and not set(pattern.partition("\0")[0]) & _SPECIAL):
            return ("native" if size * len(pattern) <= _BYTES else "counted text"), None
        if len(pattern) > _PATTERN:
            return "", "pattern too long"
        branches = sum(pattern.count(c) for c in "*+-?") + len(_BACK.findall(pattern))
        return ("native" if len(pattern) * (size + 1) ** (min(branches, 40) + 1) <= _STEPS else "counted"), None

    def _loadstring(self, text: Any, *_: Any) -> Any:
        try:
            return self.compile(str(text))
        except TspSyntaxError as error:
            return None, str(error)

    def script(self, content: Mapping[str, Any], chunk: Any) -> Any:
        """Return a table of `content` that runs `chunk` when it is called."""
        return self._host.script(self.table(content), chunk)

    # -- objects

    def function(self, call: Callback) -> Any:
        """Return `call` as a Lua function; its errors become error queue entries or run-time errors."""
        return self._host.wrap(self._guarded(call))

    def _guarded(self, call: Callback) -> Callback:
        """Return `call` as the host wraps it: it returns why the script ends, or None, and the results."""

        def guarded(*arguments: Any) -> Any:
            self.begin_command()
            begin = self._command_began
            processor = None if self._deadline is None else time.thread_time()
            try:
                result = call(*arguments)
            except Refusal as refusal:
                self._refuse(refusal)
                return (None, None)
            except Fatal as error:
                return (str(error),)
            except lua51.LuaError as error:
                return (str(error),)
            except (ValueError, OverflowError) as error:  # NaN or infinity where a whole number is wanted
                return (f"bad argument ({error})",)
            except TypeError as error:
                if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                    return (f"wrong number of arguments ({len(arguments)} given)",)
                self._crash = error
                return ("internal error",)
            except BaseException as error:
                self._crash = error
                return ("internal error",)
            finally:
                self._commands += time.perf_counter() - begin
                if processor is not None and self._deadline is not None:
                    self._deadline += time.thread_time() - processor
            if result is None:
                return (None,)
            return (None, *result) if isinstance(result, tuple) else (None, result)

        return guarded

    def node(
        self,
        kind: str,
        *,
        get: Mapping[Any, Callback] | None = None,
        set: Mapping[Any, Callback] | None = None,
        objects: Mapping[str | int, Any] | None = None,
        index: Callback | None = None,
        thing: Any = None,
    ) -> Any:
        """Return a table that behaves as an instrument object: attributes behind a metatable with `Getters`,
        `Setters`, `Objects` and `luatype`, as the keithley2600 package walks it. `thing_of` returns `thing`.
        """
        self._things.append(thing)
        self._nodes.append(Node(dict(get or {}), dict(set or {}), dict(objects or {})))
        below: dict[str | int, Any] = {}
        for key, value in (objects or {}).items():
            below[key] = value if not callable(value) or is_lua(value) else self._guarded(value)
        return self._host.node(
            kind,
            self.table({key: self._guarded(call) for key, call in (get or {}).items()}),
            self.table({key: self._guarded(call) for key, call in (set or {}).items()}),
            self.table(below),
            self._guarded(index) if index is not None else None,
            len(self._things) - 1,
            self._deny,
        )

    def table(self, content: Mapping[Any, Any]) -> Any:
        """Return a plain Lua table."""
        return self._runtime.table_from(content)

    def thing_of(self, value: Any) -> Any:
        """Return the Python object behind a node, None if it is no node."""
        number = self._host.id(value) if is_lua(value) else None
        return None if number is None else self._things[int(number)]

    def attributes(self) -> dict[str, tuple[Callback, Callback]]:
        """Return every attribute that can be read and written, `smua.source.levelv`: how it is read, and written."""
        pending = [(str(name), value) for name, value in self.globals.items()]
        attributes: dict[str, tuple[Callback, Callback]] = {}
        while pending:
            path, value = pending.pop()
            if (number := self._host.id(value) if is_lua(value) else None) is not None:
                node = self._nodes[int(number)]
                attributes |= {
                    f"{path}.{name}": (node.get[name], node.set[name]) for name in node.get.keys() & node.set.keys()
                }
                pending += [(f"{path}.{name}", below) for name, below in node.objects.items()]
        return dict(sorted(attributes.items()))

    def text(self, value: Any) -> str:
        """Return a value as `tostring` writes it."""
        return str(self._host.text(value))

    def numbers(self, value: Any) -> list[float]:
        """Return the list part of a Lua table as numbers; Refusal if there are others."""
        if lua51.lua_type(value) != "table":
            raise Refusal(-104, "Data type error")
        content, size = self._host.list(value)
        return [number(content[k]) for k in range(1, int(size) + 1)]

    def _refuse_write(self, key: Any, known: bool) -> None:
        raise Fatal(f"cannot set {'read-only' if known else 'unknown'} attribute `{key}'")


def number(value: Any) -> float:
    """Return a Lua value as a number, as Lua coerces; Refusal -104 if it is none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
    raise Refusal(-104, "Data type error")


def whole(value: Any, most: int, least: int = 0) -> int:
    """Return a number as a whole one from `least` to `most`; Refusal if it is not."""
    wanted = number(value)
    if not least <= wanted <= most:
        raise Refusal(1101, "Parameter too big") if wanted > most else Refusal(1102, "Parameter too small")
    return int(wanted)


def truth(value: Any) -> bool:
    """Return a Lua value that is true or false; Refusal -104 if it is another one."""
    if not isinstance(value, bool):
        raise Refusal(-104, "Data type error")
    return value


def is_lua(value: Any) -> bool:
    """Return whether a value is an object of an interpreter."""
    return lua51.lua_type(value) is not None


def _no_attributes(_object: Any, _name: Any, _setting: bool) -> Any:
    raise AttributeError("not available")


def _where(message: str) -> tuple[int, str]:
    """Return the line and the reason in a Lua message, quoted as Lua 5.0 quotes."""
    match = re.match(r"(?:error loading code: )?[^:\n]*:(\d+): (.*)", message.split("\nstack traceback")[0], re.DOTALL)
    line, reason = (int(match[1]), match[2]) if match else (1, message.split("\nstack traceback")[0])
    return line, re.sub(r"'([^'\n]*)'", r"`\1'", reason).replace("\n", " ")
