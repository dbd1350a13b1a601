"""The wafer loader of the emulated SENTIO: cassettes, what is on the chuck, ids, and the alignment of a wafer.

Commands and the layout of replies: MPI's public Python package `sentio_prober_control`, its groups `loader` and `vis`.
[?] How long a transfer takes, whether a wafer that was loaded has no home until it was aligned or keeps that of the one
before (`keeps_home`), what is told of one that a person put there, and the codes of refusals, no public source says.
"""

from collections.abc import Callable

from sim_backend.emulators.sentio_model import (
    INVALID_OPERATION,
    INVALID_PARAMETER,
    NO_HANDLER,
    WRONG_COUNT,
    ProberError,
    ProberState,
)
from sim_backend.emulators.world import World

EMPTY, OCCUPIED, PATTERN = 65, 64, 21
STATIONS = {"cas1": "Cassette1", "cas2": "Cassette2", "ww": "WaferWallet"}
"""Stations as commands name them -> as replies do."""
TRANSFER, ALIGNING = 60.0, 30.0
"""Time of a transfer, and of an alignment, s."""


class WaferLoader:
    """The loader of one station.

    Args:
        separate: takes the chuck down before it goes to the loader.
    """

    def __init__(self, world: World, state: ProberState, separate: Callable[[], object]) -> None:
        self._world, self._state, self._separate = world, state, separate
        self.slots: dict[str, dict[int, str]] = {}
        """Wafers by station and slot: their ids, empty where they have none."""
        self.on_chuck: tuple[str, int, str] | None = None
        """Station, slot and id of the wafer on the chuck; None if the loader knows of none."""
        self.reads_ids, self.aligns = True, True

    def commands(self) -> dict[str, Callable[[list[str]], tuple[int, str]]]:
        """Return the commands by their names."""
        return {
            "loader:has_station": lambda arguments: (0, str(int(arguments[0] in self.slots))),
            "loader:has_cassette": lambda arguments: (0, "1,200" if arguments[0] in self.slots else "0,0"),
            "loader:query_wafer_status": self._status,
            "loader:query_wafer_id": self._id,
            "loader:load_wafer": self._load,
            "loader:unload_wafer": self._unload,
            "vis:align_wafer": self._align,
        }

    def _status(self, arguments: list[str]) -> tuple[int, str]:
        station, slot = self._place(arguments)
        if station == "chuck":
            if self.on_chuck is None:
                raise ProberError(EMPTY, "Chuck is empty")
            return 0, f"{STATIONS[self.on_chuck[0]]},{self.on_chuck[1]},200,0,0"
        if slot not in self.slots.get(station, {}):
            raise ProberError(EMPTY, "Slot is empty")
        return 0, f"{STATIONS[station]},{slot},200,0,0"

    def _id(self, arguments: list[str]) -> tuple[int, str]:
        self._status(arguments)
        if not self.reads_ids:
            raise ProberError(NO_HANDLER, "No id reader")
        station, slot = self._place(arguments)
        here = self.on_chuck[2] if station == "chuck" and self.on_chuck else self.slots.get(station, {}).get(slot, "")
        return 0, here

    def _load(self, arguments: list[str]) -> tuple[int, str]:
        if len(arguments) not in (2, 3):
            raise ProberError(WRONG_COUNT, "Invalid number of parameters")
        station, slot = self._place(arguments[:2])
        if self.on_chuck is not None:
            raise ProberError(OCCUPIED, "Chuck is occupied")
        if slot not in self.slots.get(station, {}):
            raise ProberError(EMPTY, "Slot is empty")
        self._transfer()
        wafer = self.slots[station].pop(slot)
        self.on_chuck, self._state.vacuum = (station, slot, wafer), True
        return 0, wafer if self.reads_ids and wafer else "OK"

    def _unload(self, arguments: list[str]) -> tuple[int, str]:
        if self.on_chuck is None:
            raise ProberError(EMPTY, "Chuck is empty")
        station, slot, wafer = self.on_chuck
        self._transfer()
        self.slots[station][slot] = wafer
        self.on_chuck, self._state.vacuum = None, False
        return 0, "OK"

    def _align(self, arguments: list[str]) -> tuple[int, str]:
        if not self._state.vacuum:
            raise ProberError(INVALID_OPERATION, "No wafer on the chuck")
        self._separate()
        self._world.advance(ALIGNING)
        if not self.aligns:
            raise ProberError(PATTERN, "Pattern not found")
        self._state.home = True
        return 0, "OK"

    def _transfer(self) -> None:
        self._separate()
        self._world.advance(TRANSFER)
        self._state.home = self._state.home and self._state.keeps_home

    def _place(self, arguments: list[str]) -> tuple[str, int]:
        if len(arguments) != 2:
            raise ProberError(WRONG_COUNT, "Invalid number of parameters")
        station, slot = arguments[0], int(arguments[1])
        if station not in (*STATIONS, "chuck"):
            raise ProberError(INVALID_PARAMETER, f"Unknown station {station}")
        return station, slot
