"""Bins on the wafer map of the emulated SENTIO: one for each die and each of its subsites.

Commands: MPI's public Python package `sentio_prober_control`, its group `map:bins`.
[?] How many bins a new table has, that a die that nobody binned has bin 0, and the codes of refusals, no public source
says.
"""

from collections.abc import Callable

from sim_backend.emulators.sentio_model import (
    INVALID_OPERATION,
    INVALID_PARAMETER,
    NOT_ROUTABLE,
    OUT_OF_BOUNDS,
    WRONG_COUNT,
    ProberError,
    StationMap,
)

SIZE = 100
"""Bins of a new table."""
MOST = 256
SELECTIONS = ("a", "d", "s")
"""All, dies only, subsites only."""
Place = tuple[int, int, int | None]


class BinTable:
    """The bins of one map.

    Args:
        wafer: its dies and subsites.
        current: returns column, row and subsite of the die that the chuck is at, None if there is none.
    """

    def __init__(self, wafer: StationMap, current: Callable[[], tuple[int, int, int] | None]) -> None:
        self._wafer, self._current = wafer, current
        self.size = SIZE
        self.bins: dict[Place, int] = {}

    def commands(self) -> dict[str, Callable[[list[str]], tuple[int, str]]]:
        """Return the commands by their names."""
        return {
            "map:bins:set_bin": self._set,
            "map:bins:get_bin": lambda arguments: (0, str(self.bins.get(self._place(arguments), 0))),
            "map:bins:get_num_bins": lambda arguments: (0, str(self.size)),
            "map:bins:set_all": self._set_all,
            "map:bins:clear_all": self._clear,
            "map:bins:resize": self._resize,
        }

    def _place(self, arguments: list[str]) -> Place:
        """Return the place that is named, or the die under the needles."""
        if not arguments:
            here = self._current()
            if here is None:
                raise ProberError(INVALID_OPERATION, "No die active")
            return here[0], here[1], None
        if len(arguments) not in (2, 3):
            raise ProberError(WRONG_COUNT, "Invalid number of parameters")
        column, row, *site = (int(argument) for argument in arguments)
        if (column, row) not in self._wafer.route:
            raise ProberError(OUT_OF_BOUNDS, f"Die {column},{row} is not on the map")
        if site and not 0 <= site[0] < self._wafer.sites:
            raise ProberError(NOT_ROUTABLE, f"Site {site[0]} is not defined")
        return column, row, site[0] if site else None

    def _bin(self, text: str) -> int:
        if not 0 <= int(text) < self.size:
            raise ProberError(OUT_OF_BOUNDS, f"Bin {text} is not in the table")
        return int(text)

    def _set(self, arguments: list[str]) -> tuple[int, str]:
        number = self._bin(arguments[0])
        self.bins[self._place(arguments[1:])] = number
        return 0, "OK"

    def _set_all(self, arguments: list[str]) -> tuple[int, str]:
        number, what = self._bin(arguments[0]), arguments[1].lower() if len(arguments) > 1 else SELECTIONS[0]
        if what not in SELECTIONS:
            raise ProberError(INVALID_PARAMETER, f"Unknown selection {what}")
        sites: list[int | None] = [None] if what != SELECTIONS[2] else []
        sites += [*range(self._wafer.sites)] if what != SELECTIONS[1] else []
        self.bins |= {(column, row, site): number for column, row in self._wafer.route for site in sites}
        return 0, "OK"

    def _clear(self, arguments: list[str]) -> tuple[int, str]:
        self.bins.clear()
        return 0, "OK"

    def _resize(self, arguments: list[str]) -> tuple[int, str]:
        size = int(arguments[0])
        if not 1 <= size <= MOST:
            raise ProberError(OUT_OF_BOUNDS, f"Table must have 1 to {MOST} bins")
        self.size = size
        self.bins = {place: number for place, number in self.bins.items() if number < size}
        return 0, "OK"
