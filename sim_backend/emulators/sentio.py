"""MPI SENTIO prober over its native TCP command set: wafer map, heights, contact, end of the route, refusals.

Dialect: MPI's public Python package `sentio_prober_control` (command texts, reply layout, error codes; MIT). Replies
are `error | status << 10,command id,message`. Behaviour that this source does not state is labelled [?].
No command reads the stepping contact mode or the compensation, there and here. One module: one dialect, of
which `_table` names every command.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import fields
from random import Random
from typing import Any

from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.leftovers import Leave, at_command
from sim_backend.emulators.link import Instrument
from sim_backend.emulators.sentio_bins import BinTable
from sim_backend.emulators.sentio_loader import WaferLoader
from sim_backend.emulators.sentio_model import (
    COMPENSATIONS,
    END_OF_ROUTE,
    FAULTS,
    FRONT_DOOR,
    INVALID_OPERATION,
    INVALID_PARAMETER,
    LAST_SITE,
    MODES,
    NO_CONTACT_HEIGHT,
    NO_HANDLER,
    NO_HOME,
    NOT_ROUTABLE,
    OUT_OF_BOUNDS,
    ROUTE_ENDED,
    UNKNOWN_ID,
    VACUUM,
    WRONG_COUNT,
    WRONG_Z,
    ProberError,
    ProberState,
    SiteHeights,
    StationMap,
)
from sim_backend.emulators.sentio_thermo import ThermoChuck
from sim_backend.emulators.world import World

__all__ = ["ProberState", "Sentio", "SiteHeights", "StationMap"]

SLOTS = 25
"""Wafers in the cassette of a twin, which have no ids."""
MOST_CLEANING = 100
"""[?] Most touches of one cleaning."""


class Sentio(Instrument):
    """A SENTIO prober at the needles of the world.

    Args:
        wafer: its map; the world's place is (column, row, site).
        heights: of the wafer site; contact None is a height never set.
        maximum_overtravel: largest gap that is accepted, um.
    """

    def __init__(
        self, name: str, world: World, *, wafer: StationMap, heights: SiteHeights | None = None,
        maximum_overtravel: float = 200.0, version: str = "25.2.0",
    ) -> None:  # fmt: skip
        super().__init__(name, "SENTIO", world)
        self.wafer, self.heights, self.state = wafer, heights or SiteHeights(), ProberState()
        self.maximum_overtravel, self.version = maximum_overtravel, version
        self.mode, self.overtravel_on, self.hover_on, self.remote = MODES[1], False, True, False
        self.level = "contact" if world.in_contact else "separation"
        self.step: int | None = None
        self.site = 0
        self.xy = [0.0, 0.0]
        self.cleans_itself = False
        self.compensation, self._short = COMPENSATIONS[1], 0.0
        self.bins = BinTable(wafer, self._here)
        self.loader = WaferLoader(world, self.state, lambda: self._go("separation"))
        self._commands = (
            self._table() | self.loader.commands() | ThermoChuck(world, self.state).commands() | self.bins.commands()
        )

    # -- language

    def execute(self, message: str) -> str:
        """Execute one line."""
        line = message.strip()
        if not line:
            return ""
        name, _, rest = line.partition(" ")
        arguments = [a.strip() for a in rest.split(",")] if rest.strip() else []
        if name.upper().startswith("*"):
            return self._star(name.upper(), arguments)
        command = self._commands.get(name.lower())
        try:
            if command is None:
                raise ProberError(NO_HANDLER, f"Unknown command {name}")
            status, text = command(arguments)
        except ProberError as error:
            self.refuse(f"{error.code} {error} ({line[:60]})")
            status = ROUTE_ENDED if error.code == END_OF_ROUTE else 0
            return f"{error.code | status << 10},0,{error}\n"
        except (ValueError, IndexError):
            code = WRONG_COUNT if not arguments else INVALID_PARAMETER
            self.refuse(f"{code} ({line[:60]})")
            return f"{code},0,Invalid parameter\n"
        return f"{status << 10},0,{text}\n"

    def _star(self, name: str, arguments: list[str]) -> str:
        if name == "*IDN?":
            return f"MPI Corporation,SENTIO,0,{self.version}\n"
        if name == "*RCS":
            self.remote = True
        elif name == "*LOCAL":
            self.remote = False
        elif name == "*OPC?":
            return "1\n"
        return ""

    def _table(self) -> dict[str, Callable[[list[str]], tuple[int, str]]]:
        def bound(call: Callable[..., str | None], most: int) -> Callable[[list[str]], tuple[int, str]]:
            signature = inspect.signature(call)

            def run(arguments: list[str]) -> tuple[int, str]:
                try:
                    signature.bind(*arguments[: most + 1])
                except TypeError as error:
                    raise ProberError(WRONG_COUNT, "Invalid number of parameters") from error
                if len(arguments) > most:
                    raise ProberError(WRONG_COUNT, "Invalid number of parameters")
                return 0, call(*arguments) or "OK"

            return run

        yes = ("true", "1", "on")
        return {
            "status:get_version": bound(lambda: f"Version: {self.version}", 0),
            "status:get_machine_status": bound(lambda: "Ready,IsInitialized,Idle", 0),
            "status:get_machine_id": bound(lambda: "emulated", 0),
            "aux:cleaning:start": bound(self._clean, 1),
            "aux:cleaning:enable_auto": bound(lambda v: self._flag("cleans_itself", v.lower() in yes), 1),
            "move_chuck_contact": bound(self._contact, 0),
            "move_chuck_separation": bound(lambda: self._go("separation"), 0),
            "move_chuck_hover": bound(self._hover, 0),
            "move_chuck_home": bound(lambda: self._move_xy("home", "0", "0"), 0),
            "move_chuck_xy": bound(self._move_xy, 3),
            "get_chuck_xy": bound(lambda *_: f"{self.xy[0]:.3f},{self.xy[1]:.3f}", 2),
            "get_chuck_z": bound(lambda *_: f"{self._z():.3f}", 1),
            "get_chuck_site_heights": bound(lambda *_: self._heights_text(), 1),
            "set_chuck_site_heights": bound(self._set_heights, 5),
            "get_chuck_site_status": bound(self._site_status, 1),
            "clear_contact": bound(self._clear_contact, 1),
            "set_stepping_contact_mode": bound(self._set_mode, 1),
            "enable_chuck_overtravel": bound(lambda v: self._flag("overtravel_on", v.lower() in yes), 1),
            "enable_chuck_site_overtravel": bound(lambda _, v: self._flag("overtravel_on", v.lower() in yes), 2),
            "enable_chuck_hover": bound(lambda v: self._flag("hover_on", v.lower() in yes), 1),
            "enable_chuck_site_hover": bound(lambda _, v: self._flag("hover_on", v.lower() in yes), 2),
            "set_chuck_overtravel_gap": bound(self._set_overtravel, 1),
            "set_chuck_separation_gap": bound(self._set_separation, 1),
            "map:step_first_die": lambda a: self._step_to(0, int(a[0]) if a else 0),
            "map:step_next_die": lambda a: self._step_next(int(a[0]) if a else None),
            "map:step_previous_die": lambda a: self._step_to((self.step or 0) - 1, 0),
            "map:step_die": self._step_die,
            "map:step_die_seq": lambda a: self._step_to(int(a[0]), int(a[1]) if len(a) > 1 else 0),
            "map:get_die_seq": bound(lambda: str(-1 if self.step is None else self.step), 0),
            "map:die:get_current_index": bound(self._current_die, 0),
            "map:die:get_current_subsite": bound(self._current_subsite, 0),
            "map:compensation:set_z": bound(self._set_compensation, 1),
            "map:get_num_dies": bound(lambda *_: str(len(self.wafer.route)), 1),
            "map:subsite:get_num": bound(lambda *_: str(self.wafer.sites), 1),
            "map:subsite:get": bound(self._subsite, 2),
            "map:subsite:step": lambda a: self._step_subsite(a[0]),
            "map:get_index_size": bound(lambda: "{:.3f},{:.3f}".format(*self.wafer.index), 0),
            "setup:contact_counter:get": bound(lambda: str(self.state.touches), 0),
            "setup:contact_counter:reset": bound(self._reset_touches, 0),
            "get_door_status": bound(self._door, 1),
            "set_vacuum": bound(lambda _, v: self._set_vacuum(v.lower() in yes), 2),
            "get_vacuum_status": bound(lambda *_: str(int(self.state.vacuum)), 1),
            "query_command_status": bound(self._unknown_id, 1),
            "wait_complete": bound(self._unknown_id, 2),
            "wait_all": bound(lambda *_: None, 1),
            "abort_command": bound(self._unknown_id, 1),
        }

    # -- chuck

    def _z(self) -> float:
        contact = self.heights.contact or 0.0
        gap = {"contact": self.heights.overtravel if self.overtravel_on else 0.0, "hover": -self.heights.hover}
        on = self.compensation != COMPENSATIONS[0] and self.level in self.state.compensated
        offset = self.state.compensation if on else 0.0
        return contact + gap.get(self.level, -self.heights.separation) + offset - self._short

    def _ready(self) -> None:
        if self.state.front_door_open:
            raise ProberError(FRONT_DOOR, "Front door is open")
        if not self.state.vacuum:
            raise ProberError(VACUUM, "Vacuum failed")

    def _go(self, level: str) -> str:
        """Go to a level and return the height there, as SENTIO replies with it."""
        if level == self.level and not (self._short and level == "contact"):
            return f"{self._z():.3f}"
        if level != "contact":
            if self.state.stuck_in_contact and self.level == "contact":
                return f"{(self.heights.contact or 0.0) - self.heights.separation:.3f}"
            self.world.touch(False)
        self.world.advance(self.world.timing.contact)
        self.level, self._short = level, self.state.short if level == "contact" else 0.0
        if level == "contact":
            self.world.touch(not self._short)
            self.state.touches += 1
        return f"{self._z():.3f}"

    def _contact(self) -> str:
        self._ready()
        if self.heights.contact is None:
            raise ProberError(NO_CONTACT_HEIGHT, "Contact height is not set")
        return self._go("contact")

    def _clean(self, touchdowns: str = "3") -> None:
        """Touch the cleaning substrate, beside the wafer, and come back separated.

        [?] How often it touches by itself, where it ends, and that no other counter counts it, no public source says
        but for the last. Needles under voltage are noted as at any touch.
        """
        self._ready()
        number = int(touchdowns)
        if not 1 <= number <= MOST_CLEANING:
            raise ProberError(OUT_OF_BOUNDS, f"Touchdowns must be 1 to {MOST_CLEANING}")
        if not self.state.cleaning:
            raise ProberError(NO_HANDLER, "No cleaning substrate")
        if self.heights.contact is None:
            raise ProberError(NO_CONTACT_HEIGHT, "Contact height is not set")
        self._go("separation")
        self.world.advance(self.world.timing.step)
        self.world.clean_needles()
        self.world.advance(2 * number * self.world.timing.contact + self.world.timing.step)
        self.state.cleaned += number
        if self.state.ends_cleaning_in_contact:
            self._go("contact")

    def _hover(self) -> str:
        if not self.hover_on:
            raise ProberError(INVALID_OPERATION, "Hover is not enabled")
        if self.heights.contact is None:
            raise ProberError(NO_CONTACT_HEIGHT, "Contact height is not set")
        return self._go("hover")

    def _clear_contact(self, *_: str) -> None:
        if self.level == "contact":
            raise ProberError(INVALID_OPERATION, "Chuck is at contact")
        self.heights.contact = None

    def _heights_text(self) -> str:
        h = self.heights
        return f"{h.contact or 0.0:.3f},{h.separation:.3f},{h.overtravel:.3f},{h.hover:.3f}"

    def _set_heights(self, site: str, contact: str, separation: str, overtravel: str, hover: str) -> str:
        self._below_contact()
        self._check_overtravel(float(overtravel))
        self.heights = SiteHeights(float(contact), float(separation), float(overtravel), float(hover))
        return f"{site},{self._heights_text()}"

    def _site_status(self, *_: str) -> str:
        flags = (self.state.home, self.heights.contact is not None, self.overtravel_on, self.state.vacuum)
        return ",".join("1" if f else "0" for f in flags)

    def _below_contact(self) -> None:
        if self.level == "contact":
            raise ProberError(INVALID_OPERATION, "Chuck is at contact")

    def _check_overtravel(self, gap: float) -> None:
        if not 0 <= gap <= self.maximum_overtravel:
            raise ProberError(OUT_OF_BOUNDS, f"Overtravel gap must be 0 to {self.maximum_overtravel:g} um")

    def _set_overtravel(self, gap: str) -> None:
        self._check_overtravel(float(gap))
        self.heights.overtravel = float(gap)

    def _set_separation(self, gap: str) -> None:
        if not float(gap) > 0:
            raise ProberError(OUT_OF_BOUNDS, "Separation gap must be positive")
        self.heights.separation = float(gap)

    def _set_mode(self, mode: str) -> None:
        if mode not in MODES:
            raise ProberError(INVALID_PARAMETER, f"Stepping contact mode must be one of {', '.join(MODES)}")
        self.mode = mode

    def _set_compensation(self, kind: str) -> None:
        if kind not in COMPENSATIONS:
            raise ProberError(INVALID_PARAMETER, f"Z compensation must be one of {', '.join(COMPENSATIONS)}")
        self.compensation = kind

    def _flag(self, name: str, value: bool) -> None:
        setattr(self, name, value)

    def _set_vacuum(self, on: bool) -> None:
        self._below_contact()
        self.state.vacuum = on

    def _reset_touches(self) -> None:
        self.state.touches = 0

    def _unknown_id(self, *_: str) -> str:
        raise ProberError(UNKNOWN_ID, "Unknown command id")

    def _move_xy(self, reference: str, x: str, y: str) -> str:
        self._ready()
        if reference.lower() not in ("h", "home", "z", "zero", "c", "center", "r", "relative", "m", "machine", "u"):
            raise ProberError(INVALID_PARAMETER, f"Unknown reference {reference}")
        relative = reference.lower() in ("r", "relative")
        target = [float(x) + self.xy[0] * relative, float(y) + self.xy[1] * relative]
        if self.level == "contact":
            raise ProberError(WRONG_Z, "Chuck is not at separation")
        self.world.advance(self.world.timing.step)
        self.xy, self.step = target, None
        column, row = round(target[0] / self.wafer.index[0]), round(target[1] / self.wafer.index[1])
        self.world.move((column, row, 0))
        return f"{target[0]:.3f},{target[1]:.3f}"

    # -- map

    def _step_die(self, arguments: list[str]) -> tuple[int, str]:
        if len(arguments) not in (2, 3):
            raise ProberError(WRONG_COUNT, "Invalid number of parameters")
        column, row, site = (int(a) for a in (*arguments, "0")[:3])
        if (column, row) not in self.wafer.route:
            raise ProberError(OUT_OF_BOUNDS, f"Die {column},{row} is not on the map")
        return self._step_to(self.wafer.route.index((column, row)), site)

    def _here(self) -> tuple[int, int, int] | None:
        """Return column, row and subsite of the present die, None without one."""
        return None if self.step is None else (*self.wafer.route[self.step], self.site)

    def _current_die(self) -> str:
        """Return index in the route, column and row; the reply without a die is from public notes of its users."""
        if self.step is None:
            return "No die active"
        column, row = self.wafer.route[self.step]
        return f"{self.step},{column},{row}"

    def _current_subsite(self) -> str:
        return "No subsite active" if self.step is None else str(self.site)

    def _subsite(self, number: str, orientation: str = "UR") -> str:
        if not 0 <= int(number) < self.wafer.sites:
            raise ProberError(NOT_ROUTABLE, f"Site {number} is not defined")
        # [?] MAP is the orientation of the project's map, here that of the vendor's default, right and up
        signs = {"UR": (1, 1), "UL": (-1, 1), "DR": (1, -1), "DL": (-1, -1), "MAP": (1, 1)}.get(orientation.upper())
        if signs is None:
            raise ProberError(INVALID_PARAMETER, f"Unknown axis orientation {orientation}")
        name, x, y = self.wafer.subsite(int(number))
        return f"{name},{x * signs[0]:.3f},{y * signs[1]:.3f}"

    def _step_subsite(self, site: str) -> tuple[int, str]:
        """Go to a subsite of the present die, by its number or its name."""
        if self.step is None:
            raise ProberError(INVALID_OPERATION, "No die; step_first_die comes first")
        if site.lstrip("-").isdigit():
            return self._step_to(self.step, int(site))
        named = [number for number in range(self.wafer.sites) if self.wafer.subsite(number)[0] == site]
        if not named:
            raise ProberError(NOT_ROUTABLE, f"Site {site} is not defined")
        return self._step_to(self.step, named[0])

    def _door(self, door: str = "prober") -> str:
        """Return whether a door is closed and locked, 1 or 0 each. [?] Without an argument it is the front door."""
        if door.lower() not in ("prober", "loader"):
            raise ProberError(INVALID_PARAMETER, f"Unknown door {door}")
        closed = int(door.lower() == "loader" or not self.state.front_door_open)
        return f"{closed},{closed}"

    def _step_next(self, site: int | None) -> tuple[int, str]:
        if self.step is None:
            raise ProberError(INVALID_OPERATION, "No first die; step_first_die comes first")
        if site is None and self.site + 1 < self.wafer.sites:
            return self._step_to(self.step, self.site + 1)
        if self.step + 1 >= len(self.wafer.route):
            raise ProberError(END_OF_ROUTE, "End of route")
        return self._step_to(self.step + 1, site or 0)

    def _step_to(self, step: int, site: int) -> tuple[int, str]:
        """Go to a die of the route: separate first, back to contact after it in that mode."""
        self._ready()
        if not self.state.home:
            raise ProberError(NO_HOME, "Home position is not set")
        if not 0 <= step < len(self.wafer.route):
            raise ProberError(OUT_OF_BOUNDS, f"Die {step} is not on the route")
        if not 0 <= site < self.wafer.sites:
            raise ProberError(NOT_ROUTABLE, f"Site {site} is not routable")
        was_in_contact = self.level == "contact"
        if was_in_contact and self.mode == "LockContact":
            raise ProberError(WRONG_Z, "Stepping from contact is locked")
        if was_in_contact or self.level == "hover":
            self._go("separation")
        self.world.advance(self.world.timing.step)
        column, row = self.wafer.route[step]
        if self.state.stuck != "all":
            self.step, self.site = step, site
        if not self.state.stuck:
            _, right, up = self.wafer.subsite(site)
            self.xy = [column * self.wafer.index[0] + right, row * self.wafer.index[1] + up]
            self.world.move((column, row, site))
        if was_in_contact and self.mode == "BackToContact":
            self._contact()
        last_site = site == self.wafer.sites - 1
        ended = last_site and step == len(self.wafer.route) - 1
        status = (LAST_SITE if self.wafer.sites > 1 and last_site else 0) | (ROUTE_ENDED if ended else 0)
        return status, f"{column},{row},{site}"

    def leftovers(self) -> dict[str, Leave]:
        """Return how commands that change something, and the fields of the machine's state, are left."""
        pool = (*MODES, *COMPENSATIONS, "Wafer", "Chuck", "home", "relative", "true", "false", "0", "1")

        def accepted(line: str) -> bool:
            name, _, rest = line.partition(" ")
            try:
                self._commands[name]([a.strip() for a in rest.split(",")] if rest else [])
            except (ProberError, ValueError, IndexError):
                return False
            return True

        def state() -> str:
            parts = (self.heights, self.state, self.mode, self.overtravel_on, self.hover_on, self.level, self.step)
            return repr(
                (*parts, self.cleans_itself, self.site, self.xy, self.compensation, self.bins.bins, self.bins.size)
            )

        def field_of(name: str) -> Leave:
            def leave(rng: Random) -> str:
                match getattr(self.state, name):
                    case bool() as value:
                        setattr(self.state, name, not value)
                    case int():
                        setattr(self.state, name, rng.randint(1, 10**6))
                    case float() as value:
                        setattr(self.state, name, value + round(rng.uniform(-400, 400), 1))
                    case tuple():
                        every = getattr(ProberState(), name)
                        setattr(self.state, name, tuple(rng.sample(every, rng.randint(0, len(every)))))
                return str(getattr(self.state, name))

            return leave

        fixed = r"\bget_|:get\b|query|wait|abort|^loader:|^vis:"
        changing = [name for name in self._commands if not re.search(fixed, name)]
        return {
            **super().leftovers(),
            **{name: at_command(accepted, name, pool, 5, state) for name in changing},
            **{f.name: field_of(f.name) for f in fields(self.state) if f.name not in FAULTS},
        }


def emulate(name: str, options: Any, context: EmulatorContext) -> Sentio:
    """Return the emulated station of an entry of the bench file, with the map of the bench."""
    made = Sentio(name, context.world, wafer=context.station, heights=SiteHeights())
    if (cassette := getattr(options, "cassette", None)) is not None:  # a stranger's driver has options of its own
        made.loader.slots[str(cassette)] = dict.fromkeys(range(1, SLOTS + 1), "")
        made.state.vacuum = made.state.home = False
    return made
