"""The bench file of a board: the board, its limits, perhaps a prober, and nothing to be wired."""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from instruments.bench import Bench, BenchLimits, TwinSettings
from instruments.entry import Entry
from labctl.core.bias import Geometry
from labctl.core.driver import DriverKind
from labctl.core.errors import BenchError
from labctl.core.limits import Limits
from labctl.core.model import Line, Model
from labctl.core.plugins import BODIES
from labctl.core.units import Ratio, Volt

BOARD, PROBER = "board", "prober"
"""Names of the board and of its prober among the instruments of the bench."""


class Exchange(StrEnum):
    """How the next die comes onto a board."""

    NONE = "none"
    BY_HAND = "by hand"


class BoardEntry(Entry):
    """A board of the bench file: the keys are those of an instrument."""

    group: ClassVar[str] = BODIES


class BoardContact(Model):
    """How needles between a board and its die are proved to touch: every line at a harmless voltage, by the board."""

    voltage: Volt = Field(default=15e-3, ge=1e-3, le=15e-3, description="the rows' first voltage after a touch")
    least: Ratio = Field(
        default=0.25,
        gt=0,
        le=1,
        description="[?] least conductance of a line that touches, in that of its cells in AP; some may be open",
    )
    retouches: int = Field(default=2, ge=0, description="[?] new touches after a failed check")
    touches_per_die: int = Field(default=6, ge=1, description="[?] quota over the die's life: needles wear pads")


class BoardBench(Model):
    """One bench file that names a body in place of instruments and wiring."""

    name: Line = Field(min_length=1)
    body: BoardEntry = Field(description="the board: its driver, its address where it has one, and its options")
    exchange: Exchange = Field(
        default=Exchange.NONE,
        description="how the next die comes onto the board: none, or by hand, by a person who is asked for each",
    )
    prober: Entry | None = Field(
        default=None, description="puts the needles at which the board's lines end on dies; without it a die is there"
    )
    contact: BoardContact = Field(default=BoardContact(), description="how a touch is proved, on a bench with a prober")
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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.prober is None:
            if "contact" in self.model_fields_set:
                raise ValueError("found 'contact' and no 'prober': nothing touches; expected both or neither")
            return self
        if self.prober.kind not in (DriverKind.PROBER, None):
            raise ValueError(f"found a {self.prober.kind}, '{self.prober.driver}', as 'prober'; expected a prober")
        if self.exchange is Exchange.BY_HAND:
            raise ValueError("found 'exchange: by hand' and a 'prober'; expected one way to the next die")
        if self.body.resource is not None and self.body.resource == self.prober.resource:
            raise ValueError(f"found {self.body.resource} for the board and its prober; expected an address for each")
        return self

    @property
    def instruments(self) -> dict[str, Entry]:
        """The board and its prober, as instruments that are locked, latched, checked and made safe."""
        return {BOARD: self.body} | ({} if self.prober is None else {PROBER: self.prober})

    def place(self, name: str) -> tuple[str, ...]:
        """Return the keys of an instrument in the file."""
        return ("body",) if name == BOARD else (name,)

    def with_entries(self, entries: Mapping[str, Entry]) -> Self:
        """Return the bench with other entries of its instruments."""
        return self.model_copy(update={"body": entries[BOARD], "prober": entries.get(PROBER)})

    @property
    def inside(self) -> bool:
        """Whether write plans are carried out on the board itself."""
        return self.programming == "instrument"

    @property
    def wires(self) -> str:
        """The wiring in operator words."""
        shape = self.geometry()
        kernels = f"{shape.kernels} kernel{'s' * (shape.kernels > 1)}"
        next_die = ", dies are exchanged by hand" if self.exchange is Exchange.BY_HAND else ""
        next_die = ", its lines end at the needles of a prober" if self.prober is not None else next_die
        return f"a board of {kernels} of {shape.n_rows} x {shape.n_cols}; nothing is wired{next_die}"

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
