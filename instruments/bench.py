"""The bench file: instruments, wiring, limits, and the settings around every operation.

Values marked [?] are engineering defaults that no manual gives; they belong to a bench and are measured there.
"""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal, Self

from annotated_types import Ge
from pydantic import Field, ValidationInfo, field_validator, model_validator

from instruments.carrier import Address, gpib_address
from instruments.connections import Connections, Relay, connect_wiring
from instruments.entry import Entry
from instruments.short_pulses import PulseLine, pulse_lines
from instruments.timing import BenchTiming
from instruments.wiring import Wiring
from labctl.core.addresses import device_identity
from labctl.core.bias import Geometry, Kind
from labctl.core.driver import DriverKind
from labctl.core.model import Line, Model
from labctl.core.source import OffState
from labctl.core.units import Ampere, Ohm, Ratio, Second, Unit, Volt

VoltPerSecond = Annotated[float, Unit("V/s")]


class BenchLimits(Model):
    """Limits of this bench for every die, above the limits of a campaign; with the bounds of `Limits`."""

    v_towards_p: Volt = Field(gt=0, le=50, description="highest cell voltage in the direction that writes P")
    v_towards_ap: Volt = Field(
        gt=0, le=50, description="highest cell voltage in the direction that writes AP (a magnitude)"
    )
    v_gate: Volt = Field(default=0.0, ge=0, le=50, description="highest gate voltage of a die with access transistors")
    width: Second = Field(gt=0, le=3600, description="longest pulse")
    compliance: Ampere = Field(gt=0, le=100, description="highest current limit of a channel")
    ramp_rate: VoltPerSecond = Field(gt=0, description="[?] fastest change of a level that is not a pulse")
    pulse_current: Ampere | None = Field(
        default=None,
        gt=0,
        le=100,
        description="highest current of a pulse source into a short, which only its impedance limits; by default that "
        "of a channel",
    )

    @property
    def span(self) -> Volt:
        """Largest level of a channel, V."""
        return max(self.v_towards_p, self.v_towards_ap, self.v_gate)

    @property
    def most_pulsed(self) -> Ampere:
        """Highest current of a pulse source into a short, A."""
        return self.compliance if self.pulse_current is None else self.pulse_current


class Outputs(Model):
    """State of outputs between measurements."""

    off_state: OffState = Field(default=OffState.NORMAL, description="between dies; only high_z opens the relay")
    off_limit: Ampere = Field(default=1e-6, gt=0, description="current limit while off")
    relay_limit: Ampere = Field(default=10e-6, gt=0, description="[?] current limit at 0 V while relays move")
    cold_voltage: Volt = Field(default=1e-3, gt=0, description="a line below this may be switched")
    cold_current: Ampere = Field(default=1e-6, gt=0, description="[?] and with less current than this")
    cold_aperture: Second = Field(default=1e-3, gt=0, description="integration of that reading")
    between_routes: Literal["open", "grounded"] = Field(
        default="open", description="whether a line floats from one source to the next, or is on ground meanwhile"
    )


class Settling(Model):
    """Waits. [?] 4-20 ms are used after relays; the source wait depends on cable and array."""

    relays: Second = Field(default=10e-3, ge=0, description="after relays have moved")
    source: Second = Field(default=1e-3, ge=0, description="after levels have changed, before a reading")


class Reads(Model):
    """How currents are read and corrected."""

    headroom: float = Field(default=2.0, ge=1, description="measure range / nominal current of a column of P cells")
    floor: Ampere = Field(default=1e-6, gt=0, description="smallest measure range that is used")
    zero_offset: bool = Field(default=False, description="subtract the current measured at 0 V before each reading")
    lead_resistance: Ohm = Field(default=0.0, ge=0, description="of row and column leads together, subtracted")


class Contact(Model):
    """The contact check: continuity of known structures at a harmless voltage."""

    voltage: Volt = Field(default=15e-3, ge=1e-3, le=15e-3, description="the first voltage on a die after a touch")
    limit: Ampere = Field(default=10e-6, gt=0, le=100e-6)
    structures: tuple[tuple[str, str], ...] = Field(
        default=(), description="pairs of pads that conduct on a good touch"
    )
    resistance: Ohm = Field(default=50e3, gt=0, description="[?] more than this is no contact")
    retouches: int = Field(default=2, ge=0, description="[?] new touches after a failed check")
    touches_per_die: int = Field(default=6, ge=1, description="[?] quota over the die's life: needles wear pads")
    landing: Literal["grounded", "open"] | None = Field(
        default=None,
        description="pads while needles touch or lift; grounded if the wiring has a ground row",
    )


PROBED: Ohm = 25.0
"""Series resistance of a probed line by default, ohm. Project default, not a measured value."""


class TwinSettings(Model):
    """How the bench's twin measures; the real bench ignores it."""

    ideal_instruments: bool = Field(default=False, description="no noise, resolution or programming steps")
    offset: Ampere = Field(default=0.0, description="zero-bias error of every ammeter")
    gain: Ratio = Field(
        default=2e-4,
        ge=0,
        le=1,
        description="[?] error of the gain of each channel, quantity and range of a meter, standard deviation of its "
        "logarithm; drawn once, so that it does not average",
    )
    line_resistance: Ohm | None = Field(
        default=None,
        ge=0,
        description="[?] in series with each probed line: probe card, relays and cables. Left out, "
        f"{PROBED:g} ohm, this project's default and no measured value, and none with ideal instruments or around an "
        "ideal die",
    )
    pad_resistance: dict[str, Annotated[Ohm, Ge(0)]] = Field(
        default_factory=dict, description="the same of single pads, in place of line_resistance"
    )

    def resistance(self, pad: str, ideal_die: bool) -> Ohm:
        """Return ohm in series with the line of a pad."""
        usual = 0.0 if self.ideal_instruments or ideal_die else PROBED
        return self.pad_resistance.get(pad, usual if self.line_resistance is None else self.line_resistance)


VERSION = 1
"""Version of bench files."""


class Bench(Model):
    """One bench file."""

    version: int = Field(default=VERSION, description=f"version of bench files that this one is written in: {VERSION}")
    name: Line = Field(min_length=1)
    instruments: dict[str, Entry] = Field(min_length=1)
    wiring: Wiring
    limits: BenchLimits
    outputs: Outputs = Outputs()
    settling: Settling = Settling()
    reads: Reads = Reads()
    contact: Contact = Contact()
    timing: BenchTiming = BenchTiming()
    programming: Literal["host", "instrument"] = Field(
        default="host",
        description="what writes and verifies the cells of a write plan: the host, pulse by pulse and rung by rung, or "
        "scripts inside the sources, cell by cell",
    )
    joined: bool = Field(
        default=False,
        description="the sources on TSP-Link act as one: scripts of the first drive the channels of all, so that more "
        "cells share a route",
    )
    ledger: str | None = Field(
        default=None, min_length=1, description="stress ledger of the lab, from the folder of this file; stress.db"
    )
    twin: TwinSettings = TwinSettings()

    @field_validator("version")
    @classmethod
    def _known_version(cls, version: int) -> int:
        if version != VERSION:
            raise ValueError(f"found version {version} of bench files, this labctl reads {VERSION}")
        return version

    @field_validator("instruments")
    @classmethod
    def _one_owner_per_address(cls, value: dict[str, Entry]) -> dict[str, Entry]:
        taken: dict[str, tuple[str, str]] = {}
        controllers: dict[str, tuple[str, Address]] = {}
        for name, entry in value.items():
            if (resource := entry.resource) is None:
                continue
            if (address := entry.address) is None or address.gateway is None:
                key = _identity(resource)
            else:
                controller = device_identity(address.gateway)
                _one_way(name, address, *controllers.setdefault(controller, (name, address)))
                key = f"{controller} GPIB {gpib_address(address.resource)}"
            other, spelling = taken.setdefault(key, (name, resource))
            if other != name:
                also = "" if spelling == resource else f", which is {spelling}"
                raise ValueError(f"{other} and {name} have the same address {resource}{also}")
        return value

    @field_validator("wiring")
    @classmethod
    def _sound(cls, value: Wiring, info: ValidationInfo) -> Wiring:
        instruments = info.data.get("instruments")
        if instruments is not None and not any(entry.fault for entry in instruments.values()):
            pulse_lines(value, instruments, _connections(instruments, value))
        return value

    @field_validator("outputs")
    @classmethod
    def _ground_between(cls, value: Outputs, info: ValidationInfo) -> Outputs:
        _has_ground(value.between_routes, "between_routes: grounded", info)
        return value

    @field_validator("contact")
    @classmethod
    def _ground_to_land_on(cls, value: Contact, info: ValidationInfo) -> Contact:
        _has_ground(value.landing, "landing: grounded", info)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        probers = [name for name, entry in self.instruments.items() if entry.kind is DriverKind.PROBER]
        if len(probers) > 1:
            raise ValueError(f"{' and '.join(probers)} are each a prober; a bench has one")
        for pads in self.contact.structures:
            for pad in pads:
                if pad not in self.wiring.pads:
                    raise ValueError(f"pad '{pad}' of a contact structure is not in the wiring")
        for pad in self.twin.pad_resistance:
            if pad not in self.wiring.pads:
                raise ValueError(f"pad '{pad}' of twin.pad_resistance is not in the wiring")
        if self.outputs.relay_limit > self.limits.compliance:
            raise ValueError("relay_limit is above the compliance limit of the bench")
        return self

    def place(self, name: str) -> tuple[str, ...]:
        """Return the keys of an instrument in the file."""
        return "instruments", name

    def with_entries(self, entries: Mapping[str, Entry]) -> Self:
        """Return the bench with other entries of its instruments."""
        return self.model_copy(update={"instruments": dict(entries)})

    @property
    def connections(self) -> Connections:
        """Which sources reach which pads, by what."""
        instruments, wiring, connections = self.resolved
        if instruments is self.instruments and wiring is self.wiring:
            return connections
        return _connections(self.instruments, self.wiring)

    @property
    def pulse_lines(self) -> Mapping[int, PulseLine]:
        """The pulse source of each channel that has one, by the channel's number."""
        return pulse_lines(self.wiring, self.instruments, self.connections)

    @property
    def pulse_texts(self) -> tuple[str, ...]:
        """What each pulse source does on the line that it is joined to, in operator words."""
        return tuple(line.text(self.connections.name(channel)) for channel, line in self.pulse_lines.items())

    @cached_property
    def resolved(self) -> tuple[Mapping[str, Entry], Wiring, Connections]:
        """Instruments and wiring, with their connections; a copy of the bench may have others."""
        return self.instruments, self.wiring, _connections(self.instruments, self.wiring)

    @property
    def landing(self) -> frozenset[Relay]:
        """Relays that are closed while needles touch or lift: every pad that has relays on ground, or none."""
        connections = self.connections
        if connections.never_grounded or self.contact.landing == "open":
            return frozenset()
        return frozenset(connections.grounding.values())

    def fits(self, geometry: Geometry) -> None:
        """Raise BenchError unless the wiring is that of dies of this geometry."""
        self.wiring.fits(geometry)

    def geometry(self, polarity: int = 1) -> Geometry:
        """Return the shape of the die that the wiring reaches."""
        kernel = self.wiring.kernels[0]
        kind = Kind.ONE_T_ONE_R if kernel.gates else Kind.PASSIVE
        return Geometry(len(self.wiring.kernels), len(kernel.rows), len(kernel.cols), kind, polarity)


def _identity(resource: str) -> str:
    """Return one text for all ways to write an address; servers of one computer are told apart by their ports."""
    return " ".join([device_identity(resource), *re.findall(r",\s*(\d+)", resource)])


def _one_way(name: str, address: Address, other: str, others: Address) -> None:
    """Raise ValueError unless two instruments reach the controller that they are behind in one way."""
    for key, mine, theirs in (
        ("backend", f"'{address.backend}'", f"'{others.backend}'"),
        ("rs232", address.line.on_the_wire, others.line.on_the_wire),
    ):
        if mine != theirs:
            raise ValueError(
                f"the controller at {address.gateway} is given two settings: {theirs} at {other}, and {mine} at "
                f"{name}; expected the same {key} at each of its instruments"
            )


def _has_ground(choice: str | None, key: str, info: ValidationInfo) -> None:
    """Raise ValueError if `choice` is grounded and the wiring has pads that no relay grounds."""
    instruments = info.data.get("instruments")
    if choice != "grounded" or instruments is None or "wiring" not in info.data:
        return
    if any(entry.fault for entry in instruments.values()):
        return
    if not (wiring := info.data["wiring"]).ground:
        raise ValueError(f"'{key}' needs a ground row, and the wiring has none; add 'ground' there, or leave it open")
    if pads := _connections(instruments, wiring).never_grounded:
        raise ValueError(
            f"'{key}' needs ground for every pad on a matrix, and {', '.join(pads)} cannot be grounded; expected a "
            "ground row on each matrix that has pads, under 'ground' of the wiring, or no 'grounded' here"
        )


def _connections(instruments: Mapping[str, Entry], wiring: Wiring) -> Connections:
    """Return the connections of a bench; ValueError if the wiring is not sound."""
    kinds = {name: entry.kind for name, entry in instruments.items()}
    return connect_wiring(
        wiring,
        {name: instruments[name].capabilities.channels for name, kind in kinds.items() if kind is DriverKind.SOURCE},
        {name: instruments[name].scheme for name, kind in kinds.items() if kind is DriverKind.MATRIX},
        {name: str(kind) for name, kind in kinds.items() if kind in (DriverKind.PROBER, DriverKind.PULSES)},
    )
