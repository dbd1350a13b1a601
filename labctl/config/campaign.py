"""The campaign file: dies, stages, limits, and when a die is good. It never tells real from simulated."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, field_validator, model_validator

from labctl.config.bins import HARD, BinRule
from labctl.config.notify import Notify
from labctl.config.rules import Batch
from labctl.core.limits import Limits
from labctl.core.model import DieIndex, Line, Model, Name
from labctl.core.names import alike
from labctl.core.prober import Subsite
from labctl.core.units import Kelvin, Metre, Ratio
from labctl.files import FilePath


class SubsiteEntry(Model):
    """One of several touch-down positions on a die; it is tested as a die of its own."""

    name: Name = Field(description="name of the spot; what is there is called DIE-name")
    x: Metre = Field(ge=-1, le=1, description="offset from the die's reference to the right, as in the prober's map")
    y: Metre = Field(ge=-1, le=1, description="offset from the die's reference upwards")


def _differ(subsites: tuple[SubsiteEntry, ...]) -> tuple[SubsiteEntry, ...]:
    names = [s.name.lower() for s in subsites]
    if len(set(names)) < len(names):
        raise ValueError("two subsites have the same name; expected a name of its own for each")
    return subsites


Subsites = Annotated[
    tuple[SubsiteEntry, ...],
    AfterValidator(_differ),
    Field(description="spots of each die in the order of the prober's own table of subsites; one if left out"),
]


def subsites_of(entries: Sequence[SubsiteEntry]) -> tuple[Subsite, ...]:
    """Return subsites numbered as in the prober's own table."""
    return tuple(Subsite(entry.name, number, entry.x, entry.y) for number, entry in enumerate(entries))


class DieEntry(Model):
    """One die of the campaign."""

    name: Name = Field(description="name of the die; also the name of its files")
    file: FilePath = Field(description="the die file: geometry, nominal junction, and how it is simulated")
    change: dict[str, Any] = Field(
        default_factory=dict,
        description="what differs from the die file, written as there: junction: {diameter: 55 nm}",
    )

    at: tuple[DieIndex, DieIndex] | None = Field(
        default=None, description="(column, row) on the prober's map; by default the dies stand side by side in row 0"
    )
    subsites: Subsites = ()

    def place(self, number: int) -> tuple[int, int]:
        """Return the place of the die, the `number`-th of its campaign."""
        return self.at or (number, 0)


class WaferEntry(Model):
    """All dies of a wafer, or some of them."""

    file: FilePath = Field(description="the wafer file: where the dies are, and how simulated ones differ")
    die: FilePath = Field(description="the die file that all dies of the wafer have in common")
    slot: int | None = Field(
        default=None,
        ge=1,
        le=50,
        description="of a cassette: on a bench the prober loads the wafer from there, or a "
        "person is asked for it; left out: it is on the chuck",
    )
    change: dict[str, Any] = Field(default_factory=dict, description="what differs from the die file, written as there")
    only: tuple[str, ...] | None = Field(default=None, min_length=1, description="names of the dies; all if left out")
    exclude: tuple[str, ...] = Field(default=(), description="dies to skip, by place or name: [x3y0]")
    include_bins: tuple[str | int, ...] | None = Field(
        default=None, description="bins of the map file to test, by code or quality: [1, pass]; all if left out"
    )
    exclude_bins: tuple[str | int, ...] = Field(default=(), description="bins of the map file to skip")
    subsites: Subsites = ()


class Accept(Model):
    """When a die is good. A die that misses a bound goes to a bin named after it; the run goes on."""

    model_config = ConfigDict(
        json_schema_extra={"x-more": "; by other figures 'bins' judges: bins: [{bin: low, hard: 4, when: tmr < 60 %}]"}
    )

    fidelity: Ratio = Field(default=0.0, ge=0, le=1, description="least mean write fidelity over the solutions")
    accuracy: Ratio = Field(default=0.0, ge=0, le=1, description="least mean tuned accuracy on the test samples")
    drop: Ratio | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="most that the accuracy may be below that of the same network in software, both on test samples; "
        "percentage points, written as 2 %",
    )

    @property
    def rules(self) -> tuple[BinRule, ...]:
        """The same as rules.

        >>> [rule.when for rule in Accept(fidelity=0.98, drop=0.02).rules]
        ['fidelity < 98 %', 'accuracy_drop > 2 %']
        """
        return tuple(self._rules())

    def _rules(self) -> Iterator[BinRule]:
        for key, (bin_, figure, sign) in ACCEPTED.items():
            value = getattr(self, key)
            if value is not None and (value > 0 or sign == ">"):
                yield BinRule(bin=bin_, hard=HARD[bin_], when=f"{figure} {sign} {value * 100:.12g} %")


ACCEPTED: Mapping[str, tuple[str, str, str]] = {
    "fidelity": ("low-fidelity", "fidelity", "<"),
    "accuracy": ("low-accuracy", "accuracy_test", "<"),
    "drop": ("high-drop", "accuracy_drop", ">"),
}
"""Keys of `accept`: the bin of a die that misses the bound, the figure, and the sign of what is bad."""


class Campaign(Model):
    """Stages over dies."""

    name: Name
    title: Line = Field(default="", description="one line for people")
    operator: Line = Field(
        default="", description="who answers for the run; the name of the account that starts it if left out"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of the simulated world; --seed overrides it")
    temperature: Kelvin | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="temperature of the dies, as the chuck was set or a thermometer says; recorded and exported, "
        "and set where the bench file has the bounds of a chuck",
    )
    dies: tuple[DieEntry, ...] = Field(default=(), description="the dies, one by one; or name a wafer")
    wafer: WaferEntry | None = Field(default=None, description="the dies of a wafer")
    limits: Limits
    accept: Accept = Accept()
    bins: tuple[BinRule, ...] = Field(
        default=(), description="where dies go that are not good: the first rule that is true; those of 'accept' follow"
    )
    batch: Batch = Field(default=Batch(), description="rules for all dies: order, new tries, when to stop")
    notify: Notify | None = Field(default=None, description="who is notified of the run")

    @property
    def bin_rules(self) -> tuple[BinRule, ...]:
        """The rules of `bins`, then those of `accept`."""
        return (*self.bins, *self.accept.rules)

    @field_validator("dies")
    @classmethod
    def _names_differ(cls, dies: tuple[DieEntry, ...]) -> tuple[DieEntry, ...]:
        if twice := alike(d.name for d in dies):
            raise ValueError(f"of the dies {twice}; expected a name of its own for each")
        return dies

    @model_validator(mode="after")
    def _dies_or_wafer(self) -> "Campaign":
        if bool(self.dies) == (self.wafer is not None):
            both = "both 'dies' and 'wafer'" if self.dies else "neither 'dies' nor 'wafer'"
            raise ValueError(f"found {both}, expected the dies one by one under 'dies' or those of a 'wafer'")
        return self


class OneStage(Model):
    """Base of a stage: exactly one procedure with its parameters."""

    @model_validator(mode="before")
    @classmethod
    def _empty_stage_is_all_defaults(cls, stage: Any) -> Any:
        """Take `survey:` for `survey: {}`; a stage is one key, so it is not ambiguous."""
        if isinstance(stage, dict) and len(stage) == 1 and set(stage) <= set(cls.model_fields):
            return {name: {} if value is None else value for name, value in stage.items()}
        return stage

    @model_validator(mode="after")
    def _one_procedure(self) -> "OneStage":
        named = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(named) != 1:
            choice = ", ".join(type(self).model_fields)
            raise ValueError(f"found a stage of {len(named)} procedures, expected one of {choice}")
        return self

    def procedure(self) -> tuple[str, Model]:
        """Return the name of the procedure and its parameters."""
        return next((n, getattr(self, n)) for n in type(self).model_fields if getattr(self, n) is not None)
