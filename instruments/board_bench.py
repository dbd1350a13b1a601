"""The bench file of a board: the board, its limits, and nothing to be wired."""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import ClassVar, Literal, Self

from pydantic import Field

from instruments.bench import Bench, BenchLimits, TwinSettings
from instruments.entry import Entry
from labctl.core.bias import Geometry
from labctl.core.errors import BenchError
from labctl.core.limits import Limits
from labctl.core.model import Line, Model
from labctl.core.plugins import BODIES

BOARD = "board"
"""Name of the board among the instruments of its bench."""


class Exchange(StrEnum):
    """How the next die comes onto a board."""

    NONE = "none"
    BY_HAND = "by hand"


class BoardEntry(Entry):
    """A board of the bench file: the keys are those of an instrument."""

    group: ClassVar[str] = BODIES


class BoardBench(Model):
    """One bench file that names a body in place of instruments and wiring."""

    name: Line = Field(min_length=1)
    body: BoardEntry = Field(description="the board: its driver, its address where it has one, and its options")
    exchange: Exchange = Field(
        default=Exchange.NONE,
        description="how the next die comes onto the board: none, or by hand, by a person who is asked for each",
    )
    limits: BenchLimits
    programming: Literal["host", "instrument"] = Field(
        default="host",
        description="what writes and verifies the cells of a write plan: the host, pulse by pulse and rung by rung, or "
        "the board itself, if it can, a chunk of cells at a time",
    )
    ledger: str | None = Field(
        default=None, min_length=1, description="stress ledger of the lab, from the folder of this file; stress.db"
    )
    twin: TwinSettings = TwinSettings()

    @property
    def instruments(self) -> dict[str, Entry]:
        """The board, as an instrument that is locked, latched, checked and made safe."""
        return {BOARD: self.body}

    def place(self, name: str) -> tuple[str, ...]:
        """Return the keys of the board in the file."""
        return ("body",)

    def with_entries(self, entries: Mapping[str, Entry]) -> Self:
        """Return the bench with another entry of its board."""
        return self.model_copy(update={"body": entries[BOARD]})

    @property
    def inside(self) -> bool:
        """Whether write plans are carried out on the board itself."""
        return self.programming == "instrument"

    @property
    def wires(self) -> str:
        """The wiring in operator words."""
        shape = self.geometry()
        kernels = f"{shape.kernels} kernel{'s' * (shape.kernels > 1)}"
        by_hand = ", dies are exchanged by hand" if self.exchange is Exchange.BY_HAND else ""
        return f"a board of {kernels} of {shape.n_rows} x {shape.n_cols}; nothing is wired{by_hand}"

    @property
    def bounds(self) -> Limits:
        """The limits as those of a die; pulses are counted by the campaign."""
        own = self.limits
        return Limits(
            v_towards_p=own.v_towards_p,
            v_towards_ap=own.v_towards_ap,
            width=own.width,
            compliance=own.compliance,
            v_gate=own.v_gate,
            v_count=max(own.v_towards_p, own.v_towards_ap),
            pulses_per_cell=10**12,
        )

    def geometry(self, polarity: int = 1) -> Geometry:
        """Return the shape of the die that the board drives."""
        return replace(self.body.geometry, polarity=polarity)

    def fits(self, geometry: Geometry) -> None:
        """Raise BenchError unless the board drives dies of this geometry."""
        if (own := self.geometry(geometry.polarity)) != geometry:
            raise BenchError(
                f"the board drives {own.kernels} kernels of {own.n_rows} x {own.n_cols}, {own.kind}; the die has "
                f"{geometry.kernels} of {geometry.n_rows} x {geometry.n_cols}, {geometry.kind}"
            )


AnyBench = Bench | BoardBench
"""What a bench file describes."""
