"""State of a SENTIO prober: error codes, heights, the wafer map and the machine.

Codes: MPI's public Python package `sentio_prober_control` (MIT).
"""

from dataclasses import dataclass

INVALID_PARAMETER, WRONG_COUNT, OUT_OF_BOUNDS, END_OF_ROUTE, INVALID_OPERATION = 6, 7, 8, 11, 12
NO_HANDLER, NOT_ROUTABLE, NO_HOME, NO_CONTACT_HEIGHT, UNKNOWN_ID = 3, 14, 18, 23, 32
WRONG_Z, FRONT_DOOR, VACUUM = 38, 60, 68
LAST_SITE, ROUTE_ENDED = 2, 1
MODES = ("BackToContact", "StepToSeparation", "LockContact")


class ProberError(Exception):
    """The prober refuses a command: its error code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass
class SiteHeights:
    """Heights of one chuck site in um, as SENTIO gives them: contact is absolute, the others are gaps."""

    contact: float | None = 15000.0
    separation: float = 250.0
    overtravel: float = 30.0
    hover: float = 50.0


@dataclass(frozen=True)
class StationMap:
    """Dies in the order of the route, (column, row), and the sites that each of them has.

    Args:
        index: die pitch in um, x and y.
        table: name and offset of each site from the die's home in um, right and up; all at home if left out.
    """

    route: tuple[tuple[int, int], ...]
    sites: int = 1
    index: tuple[float, float] = (5000.0, 5000.0)
    table: tuple[tuple[str, float, float], ...] = ()

    def subsite(self, number: int) -> tuple[str, float, float]:
        """Return name and offset of a site."""
        return self.table[number] if self.table else (str(number), 0.0, 0.0)


COMPENSATIONS = ("None", "OnTheFly", "Topography")
LEVELS = ("contact", "separation", "hover")


@dataclass
class ProberState:
    """State and faults of the machine, for tests to set.

    Args:
        compensation: how far above its heights the chuck goes while compensation is on, um. The heights that the
            station reports stay as they are set (issue 47 of the vendor's client); that the sign is free, and which
            levels are shifted, is [?].
        compensated: the levels that are shifted.
        thermo: it has a thermo chuck.
        ramp: of the chuck, K/s.
        thermo_lost: state of a thermo chuck that does not come to its temperature; "" for one that does.
        keeps_home: an exchange of wafers leaves the home position as it was set.
        cleaning: it has a cleaning substrate.
        cleaned: touches on it.
        short: how far below contact a contact move stops, um; the needles do not touch.
        stuck: part that a step does not move while its reply names the wanted die: "chuck" (the map moves on, the
            chuck does not), "all" (neither moves), "" none.
        ends_cleaning_in_contact: after a cleaning the chuck goes up at its old place.
        stuck_in_contact: a separation is answered and not executed.
    """

    front_door_open: bool = False
    vacuum: bool = True
    home: bool = True
    temperature: float = 25.0
    setpoint: float = 25.0
    touches: int = 0
    compensation: float = 0.0
    compensated: tuple[str, ...] = LEVELS
    thermo: bool = True
    ramp: float = 1.0
    thermo_lost: str = ""
    keeps_home: bool = False
    cleaning: bool = True
    cleaned: int = 0
    short: float = 0.0
    stuck: str = ""
    stuck_in_contact: bool = False
    ends_cleaning_in_contact: bool = False


FAULTS = ("short", "stuck", "stuck_in_contact", "ends_cleaning_in_contact", "ramp", "thermo_lost")
"""Fields of the state that are faults of the machine and not what somebody left."""
