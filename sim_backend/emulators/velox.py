"""Velox, which drives FormFactor's probe stations: its words in both framings, over the machine of a station.

Words, parameters and values: PyMeasure's driver (pymeasure.instruments.formfactor.velox) and the maker's public SDK
(MIT). A line is a command over GPIB or VISA and answered by `code: values`; `Cmd=7:Name:values` is one of the message
server and answered by `Rsp=7:code:values`. 703 is the end of the wafer. [?] The other codes, what a registration is
answered by, the last values of a position on the map, and in which direction heights grow. That a connection has to
register first is not emulated. The machine is that of the emulated SENTIO: its hover is the height of alignment here.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from random import Random
from typing import Any

from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.leftovers import Leave
from sim_backend.emulators.sentio import Sentio
from sim_backend.emulators.sentio_model import (
    END_OF_ROUTE,
    INVALID_OPERATION,
    INVALID_PARAMETER,
    MODES,
    NO_CONTACT_HEIGHT,
    NO_HANDLER,
    OUT_OF_BOUNDS,
    WRONG_COUNT,
    WRONG_Z,
    ProberError,
    ProberState,
    SiteHeights,
    StationMap,
)
from sim_backend.emulators.world import World

END_OF_WAFER, OTHERS = 703, 900
"""Code of the end of the route, and what is added to other codes of the machine."""
KEPT = 2
"""A flag of the mode that is to stay as it is."""
LETTERS = {"contact": "C", "separation": "S", "hover": "A"}
UNITS = {"Y": 1.0, "I": 25.4}
"""Microns and mils, um."""
_FRAME = re.compile(r"Cmd=(\d+):(\w+):(.*)", re.S)
_REGISTRATION = re.compile(r"FCN=1:RegisterProberApp:\S+ \S+ \d+")


class Velox(Sentio):
    """A station at the needles of the world.

    Args:
        wafer: its map; the world's place is (column, row, site).
        heights: of the wafer site; contact None is a height never set.
    """

    def __init__(self, name: str, world: World, *, wafer: StationMap, heights: SiteHeights | None = None) -> None:
        super().__init__(name, world, wafer=wafer, heights=heights, version="3.2.1")
        self.model = "Velox"
        self.index = list(wafer.index)
        """Sizes of an index step, um."""

    def execute(self, message: str) -> str:
        """Execute one line, in the framing that it has."""
        line = message.strip()
        if not line:
            return ""
        if line == "*IDN?":
            return f"FormFactor,Velox,0,{self.version}\n"
        if _REGISTRATION.fullmatch(line):
            return "Rsp=0:0:\n"
        frame = _FRAME.fullmatch(line)
        name, _, rest = (frame[2], "", frame[3]) if frame else line.partition(" ")
        code, text = self._carry_out(name, rest.split())
        return f"Rsp={frame[1]}:{code}:{text}\n" if frame else f"{code}: {text}".rstrip() + "\n"

    def _carry_out(self, name: str, values: Sequence[str]) -> tuple[int, str]:
        """Return code and values of a command."""
        command = {known.lower(): act for known, act in self._velox_table().items()}.get(name.lower())
        try:
            if command is None:
                raise ProberError(NO_HANDLER, f"Unknown command {name}")
            return 0, command(*values) or ""
        except ProberError as error:
            self.refuse(f"{error.code} {error} ({name})")
            return (END_OF_WAFER if error.code == END_OF_ROUTE else OTHERS + error.code), str(error)
        except (TypeError, ValueError):
            self.refuse(f"{WRONG_COUNT} ({name} {' '.join(values)[:40]})")
            return OTHERS + WRONG_COUNT, "Invalid parameter"

    def _velox_table(self) -> dict[str, Callable[..., str | None]]:
        return {
            "ReportKernelVersion": lambda: f'{self.version} "Velox"',
            "ReportSoftwareVersion": lambda: self.version,
            "IsAppRegistered": lambda app: str(int(app == "WaferMap")),
            "ReadChuckHeights": self._read_heights,
            "ReadChuckPosition": self._read_position,
            "ReadChuckStatus": self._read_status,
            "ReadChuckIndex": lambda unit="Y": " ".join(f"{size / UNITS[unit]:.3f}" for size in self.index),
            "SetChuckIndex": self._set_index,
            "SetChuckMode": self._set_flags,
            "MoveChuckContact": lambda speed="100": self._moved(self._contact, speed),
            "MoveChuckAlign": lambda speed="100": self._moved(self._hover, speed),
            "MoveChuckSeparation": lambda speed="100": self._moved(self._separate, speed),
            "MoveChuck": self._move_chuck,
            "MoveChuckIndex": self._move_index,
            "StepFirstDie": lambda *_: self._stepped(0, 0),
            "StepNextDie": self._step_next_or_to,
            "ReadMapPosition": lambda *_: self._map_position(),
            "ReadMapPosition2": lambda *_: self._map_position(),
        }

    # -- chuck

    def _moved(self, act: Callable[[], str], speed: str) -> str:
        if not 0.1 <= float(speed) <= 100:
            raise ProberError(INVALID_PARAMETER, f"Velocity {speed} is not 0.1 to 100")
        act()
        return ""

    def _separate(self) -> str:
        if self.heights.contact is None:
            raise ProberError(NO_CONTACT_HEIGHT, "Contact height is not set")
        return self._go("separation")

    def _read_heights(self, unit: str = "Y") -> str:
        h = self.heights
        heights = (-UNITS[unit] if h.contact is None else h.contact, h.overtravel, h.hover, h.separation, 200.0)
        return " ".join(f"{height / UNITS[unit]:.3f}" for height in heights)

    def _read_position(self, unit: str = "Y", reference: str = "H", *_: str) -> str:
        if reference not in ("H", "Z", "C", "D"):
            raise ProberError(INVALID_PARAMETER, f"Unknown reference {reference}")
        z = self._z() - (0.0 if reference == "Z" else self.heights.contact or 0.0)
        return " ".join(f"{value / UNITS[unit]:.3f}" for value in (*self.xy, z))

    def _read_status(self) -> str:
        mode = int(self.overtravel_on) | int(self.mode == MODES[0]) << 1 | int(self.heights.contact is not None) << 4
        letter = "O" if self.level == "contact" and self.overtravel_on else LETTERS[self.level]
        return f"15 {mode} 0 0 D {int(self.state.vacuum)} {letter} F 0 N 0"

    def _set_index(self, x: str, y: str, unit: str = "Y") -> None:
        self.index = [float(x) * UNITS[unit], float(y) * UNITS[unit]]

    def _set_flags(self, overtravel: str = "2", auto_z: str = "2", *others: str) -> None:
        flags = [int(flag) for flag in (overtravel, auto_z, *others)]
        if len(flags) > 6 or not all(0 <= flag <= KEPT for flag in flags):
            raise ProberError(INVALID_PARAMETER, "A flag is 0, 1 or 2")
        self.overtravel_on = self.overtravel_on if flags[0] == KEPT else bool(flags[0])
        if flags[1] != KEPT:
            self.mode = MODES[0] if flags[1] else MODES[1]

    def _move_chuck(self, x: str, y: str, reference: str = "H", unit: str = "Y", speed: str = "100") -> str:
        factors = self.index if unit == "X" else (UNITS[unit],) * 2
        target = [float(value) * factor for value, factor in zip((x, y), factors, strict=True)]
        return self._moved(partial(self._move_xy, reference, *map(str, target)), speed)

    def _move_index(self, x: str, y: str, reference: str = "H", speed: str = "100") -> str:
        return self._move_chuck(x, y, reference, "X", speed)

    # -- map

    def _step_next_or_to(self, column: str = "", row: str = "", site: str = "0") -> str:
        if column and row:
            place = int(column), int(row)
            if place not in self.wafer.route:
                raise ProberError(OUT_OF_BOUNDS, f"Die {column} {row} is not on the map")
            return self._stepped(self.wafer.route.index(place), int(site))
        if self.step is None:
            raise ProberError(INVALID_OPERATION, "No first die; StepFirstDie comes first")
        if self.site + 1 < self.wafer.sites:
            return self._stepped(self.step, self.site + 1)
        if self.step + 1 >= len(self.wafer.route):
            raise ProberError(END_OF_ROUTE, "End of wafer")
        return self._stepped(self.step + 1, 0)

    def _stepped(self, step: int, site: int) -> str:
        """Go to a die of the route; return column, row, subsite and number of subsites."""
        if self.level == "contact" and self.mode == MODES[1]:
            raise ProberError(WRONG_Z, "Chuck is at contact")
        _, echo = self._step_to(step, site)
        return f"{echo.replace(',', ' ')} {self.wafer.sites}"

    def _map_position(self) -> str:
        if self.step is None:
            raise ProberError(INVALID_OPERATION, "No die is current")
        column, row = self.wafer.route[self.step]
        return (
            f"{column} {row} {self.xy[0]:.3f} {self.xy[1]:.3f} {self.site} {self.wafer.sites} "
            f"{self.step + 1} {len(self.wafer.route)}"
        )

    def leftovers(self) -> dict[str, Leave]:
        """Return how modes, heights, place and the fields of the machine's state are left."""

        def flags(rng: Random) -> str:
            self._set_flags(str(rng.randint(0, 1)), str(rng.randint(0, 1)))
            return f"{self.overtravel_on}, {self.mode}"

        def heights(rng: Random) -> str:
            def some(low: float, high: float) -> float:
                return round(rng.uniform(low, high), 1)

            contact = None if rng.random() < 0.2 else some(9000, 16000)
            self.heights = SiteHeights(contact, some(50, 400), some(0, 120), some(20, 90))
            return str(self.heights)

        def height(rng: Random) -> str | None:
            code, _ = self._carry_out(f"MoveChuck{rng.choice(['Contact', 'Align', 'Separation'])}", ["100"])
            return None if code else self.level

        def step(rng: Random) -> str | None:
            if self.level == "contact":
                return None
            column, row = rng.choice(self.wafer.route)
            code, text = self._carry_out("StepNextDie", [str(column), str(row), str(rng.randrange(self.wafer.sites))])
            return None if code else text

        every = super().leftovers()
        machine = {name: every[name] for name in ("busy", *(f.name for f in fields(ProberState))) if name in every}
        return {**machine, "SetChuckMode": flags, "heights": heights, "MoveChuck": height, "StepNextDie": step}


def emulate(name: str, options: Any, context: EmulatorContext) -> Velox:
    """Return the emulated station of an entry of the bench file, with the map of the bench."""
    return Velox(name, context.world, wafer=context.station, heights=SiteHeights())
