"""Wafers of a SENTIO that come from a cassette: which is on the chuck, loading, its id, and its alignment.

Commands: MPI's public Python package `sentio_prober_control`, its groups `loader` and `vis`; stations are written one
way in commands and another way in replies.
"""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field

from instruments.sentio_reply import SentioLink
from labctl.core.errors import InstrumentError
from labctl.core.model import Model
from labctl.core.transport import Wait
from labctl.core.units import Second

EMPTY = 65
"""Error of a slot or station that is empty."""


class Cassette(StrEnum):
    """Stations of a loader that hold wafers, as commands name them."""

    FIRST = "cas1"
    SECOND = "cas2"
    WALLET = "ww"


REPLIED: Mapping[Cassette, str] = {
    Cassette.FIRST: "Cassette1", Cassette.SECOND: "Cassette2", Cassette.WALLET: "WaferWallet",
}  # fmt: skip
"""The same stations as replies name them."""


class LoaderOptions(Model):
    """Options of a station whose wafers come from a cassette."""

    cassette: Cassette | None = Field(
        default=None,
        description="where wafers come from of which a campaign says the slot; left out: a person is asked",
    )
    align_wafer: bool = Field(default=True, description="have SENTIO align the wafer before each run")
    loading_time: Second | None = Field(
        default=None, gt=0, description="[?] of loading and aligning a wafer, for the plan; left out: it is not counted"
    )
    loading_patience: Second = Field(default=600.0, gt=0, description="longest time of loading, and of aligning")


class SentioLoader:
    """The loader of one station, as its commands give it.

    Args:
        link: to the station.
        cassette: where wafers come from.
        patience: longest time of a command that moves wafers, s.
    """

    def __init__(self, link: SentioLink, cassette: Cassette, patience: Second) -> None:
        self._link, self._cassette, self._patience = link, cassette, patience

    def there(self) -> bool:
        """Return whether there is a cassette."""
        if self._cassette is Cassette.WALLET:
            return self._link.ask(f"loader:has_station {self._cassette}").text == "1"
        return self._link.ask(f"loader:has_cassette {self._cassette}").text.split(",")[0].strip() == "1"

    def on_chuck(self) -> int | None:
        """Return the slot of the wafer on the chuck, None without one; InstrumentError if it is from elsewhere."""
        reply = self._link.ask("loader:query_wafer_status chuck, 1", allowed=(EMPTY,))
        if reply.error:
            return None
        origin, slot, *_ = (*(part.strip() for part in reply.text.split(",")), "")
        if origin != REPLIED[self._cassette] or not slot.isdigit():
            raise InstrumentError(
                f"{self._link.name}: a wafer from '{origin}' is on the chuck, and wafers come from {self._cassette}; "
                "unload it at the station"
            )
        return int(slot)

    def unload(self) -> None:
        """Put the wafer on the chuck back to its slot."""
        self._move("loader:unload_wafer")

    def load(self, slot: int) -> None:
        """Put the wafer of a slot on the chuck."""
        self._move(f"loader:load_wafer {self._cassette}, {slot}")

    def wafer_id(self) -> str:
        """Return the id of the wafer on the chuck as the station has read it, empty without one."""
        reply = self._link.ask("loader:query_wafer_id chuck, 1", allowed=range(1, 1024))
        return "" if reply.error or reply.text.lower() == "ok" else reply.text

    def align(self) -> None:
        """Align the wafer on the chuck."""
        self._move("vis:align_wafer")

    def _move(self, command: str) -> None:
        self._link.ask(command, wait=Wait.MOTION, extra=self._patience)


def same_wafer(one: str, other: str) -> bool:
    """Return whether two names are of one wafer, without regard to case and marks.

    >>> same_wafer("LOT42/07", "lot42-07"), same_wafer("LOT42-07", "LOT42-08")
    (True, False)
    """
    letters = ["".join(c for c in name.casefold() if c.isalnum()) for name in (one, other)]
    return letters[0] == letters[1]
