"""Reading buffers of the 2600B: `nvbuffer1`, `nvbuffer2` and those of `makebuffer`."""

from typing import Any

from sim_backend.emulators.tsp.vm import Lua, Refusal, number

_COLUMNS = ("readings", "sourcevalues", "timestamps", "statuses", "measureranges", "sourceranges")


class Buffer:
    """One reading buffer.

    Args:
        capacity: largest number of readings.
    """

    def __init__(self, lua: Lua, capacity: int) -> None:
        self.capacity = capacity
        self.appendmode, self.collectsourcevalues, self.collecttimestamps = 0, 0, 0
        self.columns: dict[str, list[float]] = {name: [] for name in _COLUMNS}
        self.node = self._node(lua)

    @property
    def n(self) -> int:
        """Number of readings."""
        return len(self.columns["readings"])

    def clear(self, *_: Any) -> None:
        """Drop the readings."""
        for column in self.columns.values():
            column.clear()

    def begin(self) -> None:
        """Prepare for a set of readings: clear unless appending."""
        if not self.appendmode:
            self.clear()

    def add(self, reading: float, source: float, time: float, status: int, ranges: tuple[float, float]) -> None:
        """Append one reading; a full buffer refuses it."""
        if self.n >= self.capacity:
            raise Refusal(4915, "Attempting to store past the capacity of the reading buffer")
        for name, value in zip(_COLUMNS, (reading, source, time, float(status), *ranges), strict=True):
            self.columns[name].append(value)

    def get(self, name: str, index: Any) -> Any:
        """Return one entry, counted from 1; nil beyond the end."""
        i, column = int(number(index)), self.columns[name]
        return column[i - 1] if 1 <= i <= len(column) else None

    def _node(self, lua: Lua) -> Any:
        def column(name: str) -> Any:
            return lua.node(
                "synchronous_table",
                objects={"getreading": lambda i, *_: self.get(name, i)},
                index=lambda i: self.get(name, i),
                thing=self.columns[name],
            )

        def flag(name: str) -> Any:
            def setter(value: Any) -> None:
                if number(value) not in (0, 1):
                    raise Refusal(1101, "Parameter too big")
                if self.n and name != "appendmode":
                    raise Refusal(4907, "Attempting to change the buffer's settings while it holds data")
                setattr(self, name, int(number(value)))

            return setter

        flags = ("appendmode", "collectsourcevalues", "collecttimestamps")
        return lua.node(
            "reading_buffer",
            get={
                "n": lambda: self.n,
                "capacity": lambda: self.capacity,
                "next": lambda: self.n + 1,
                **{name: (lambda name=name: getattr(self, name)) for name in flags},
            },
            set={name: flag(name) for name in flags},
            objects={
                "clear": self.clear,
                "clearcache": lambda *_: None,
                **{name: column(name) for name in _COLUMNS},
            },
            index=lambda i: self.get("readings", i),
            thing=self,
        )
