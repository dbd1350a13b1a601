"""Number formats of a TSP instrument: `print` in ASCII, `printbuffer` and `printnumber` in ASCII or binary."""

import struct
from dataclasses import dataclass
from typing import Any

from sim_backend.emulators.tsp.vm import Lua, Refusal, number

ASCII, REAL32, REAL64 = 1, 2, 3
NORMAL, SWAPPED = 0, 1


@dataclass
class Format:
    """`format.*` of a TSP instrument (2600B reference manual): 6 significant digits, ASCII, little-endian at reset."""

    asciiprecision: int = 6
    data: int = ASCII
    byteorder: int = SWAPPED

    def reset(self) -> None:
        """Go back to the defaults."""
        self.asciiprecision, self.data, self.byteorder = 6, ASCII, SWAPPED

    def number(self, value: float) -> str:
        """Return a number as `print` writes it.

        >>> Format().number(1e-3)
        '1.00000e-03'
        """
        return f"{value:.{self.asciiprecision - 1}e}"

    def text(self, lua: Lua, value: Any) -> str:
        """Return any Lua value as `print` writes it."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if value is None:
            return "nil"
        if isinstance(value, int | float):
            return self.number(float(value))
        return value if isinstance(value, str) else lua.text(value)

    def block(self, values: list[float]) -> str:
        r"""Return numbers as `printbuffer` writes them: `#0`, the reals and a newline if binary.

        >>> Format(data=REAL32).block([1.0])
        '#0\x00\x00\x80?\n'
        """
        if self.data == ASCII:
            return ", ".join(self.number(v) for v in values) + "\n"
        order, kind = "<" if self.byteorder == SWAPPED else ">", "f" if self.data == REAL32 else "d"
        clipped = values if kind == "d" else [max(-3.4e38, min(3.4e38, v)) for v in values]
        return "#0" + struct.pack(f"{order}{len(values)}{kind}", *clipped).decode("latin-1") + "\n"

    def node(self, lua: Lua) -> Any:
        """Return `format` as an instrument object."""

        def choose(name: str, allowed: range, code: int, message: str) -> Any:
            def setter(value: Any) -> None:
                chosen = number(value)
                if chosen not in allowed:
                    raise Refusal(code, message)
                setattr(self, name, int(chosen))

            return setter

        names = ("asciiprecision", "data", "byteorder")
        return lua.node(
            "format",
            get={name: (lambda name=name: getattr(self, name)) for name in names},
            set={
                "asciiprecision": choose("asciiprecision", range(1, 17), 1405, "Invalid ASCII precision"),
                "data": choose("data", range(1, 4), 1406, "Invalid data format"),
                "byteorder": choose("byteorder", range(2), 1404, "Invalid byte order"),
            },
            objects={
                "ASCII": ASCII, "SREAL": REAL32, "REAL32": REAL32, "DREAL": REAL64, "REAL64": REAL64, "REAL": REAL64,
                "NORMAL": NORMAL, "NETWORK": NORMAL, "BIGENDIAN": NORMAL, "SWAPPED": SWAPPED, "LITTLEENDIAN": SWAPPED,
            },
        )  # fmt: skip
