"""Keys of an adapter in the bench file, judged when it is read: the class, its map, what it can do."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from instruments.adapter.classes import ReadyMap, names, ready
from instruments.adapter.objects import class_of, missing
from instruments.adapter.roles import FUNCTIONS, Lines, MatrixRoles, Roles, SourceRoles, unknown_names
from instruments.adapter.statements import Statement
from instruments.entry import UNUSABLE
from labctl.core.driver import DriverKind, declared
from labctl.core.errors import BenchError
from labctl.core.model import Model, one_of
from labctl.core.source import SourceCapabilities
from labctl.core.units import Ampere, Second, Volt

SHORTEST_PULSE: Second = 0.02
"""[?] Of a pulse that the host times, message by message, unless the bench file says otherwise."""


class HostCapabilities(Model):
    """What a source can do that no driver of ours knows."""

    ranges_v: tuple[Volt, ...] = Field(min_length=1, description="source ranges, ascending")
    ranges_i: tuple[Ampere, ...] = Field(min_length=1, description="measure ranges, ascending")
    shortest_aperture: Second = Field(gt=0, description="shortest integration time")
    longest_aperture: Second = Field(gt=0, description="longest integration time")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for name, ranges in (("ranges_v", self.ranges_v), ("ranges_i", self.ranges_i)):
            if any(full <= 0 for full in ranges) or list(ranges) != sorted(set(ranges)):
                raise ValueError(f"{name} are {ranges}; expected ascending, above 0")
        if self.shortest_aperture > self.longest_aperture:
            raise ValueError("shortest_aperture is above longest_aperture")
        return self


class Emergency(Model):
    """What makes an instrument safe that no driver of ours knows, over a fresh connection and without the object."""

    send: tuple[str, ...] = Field(min_length=1, description="commands that end what runs, set 0 V and switch off")
    ask: str = Field(min_length=1, description="one question, whose reply is 0 and nothing but zeros if all is off")


class AdapterOptions(Model):
    """Keys that adapters have in common."""

    library: ClassVar[str]
    kind: ClassVar[type[Roles]]

    class_: str = Field(alias="class", description="the class, as it is imported")
    like: str | None = Field(default=None, description="a class whose ready map is taken, for one that derives from it")
    model: str = Field(default="", description="as its identity has it; that of the ready map by default")
    longest_call: Second = Field(default=10.0, gt=0, description="how long a call may take beside its reading")

    @field_validator("class_")
    @classmethod
    def _there(cls, value: str, info: ValidationInfo) -> str:
        """Refuse a class that is not there; a bench that is to be made safe does without."""
        if (info.context or {}).get(UNUSABLE):
            return value
        if why := missing(cls.library):
            raise ValueError(why)
        if ready(value) is None:
            try:
                class_of(value)
            except BenchError as error:
                raise ValueError(str(error)) from error
        return value

    @field_validator("like")
    @classmethod
    def _mapped(cls, value: str | None) -> str | None:
        if value is not None and ready(value) is None:
            raise ValueError(f"'{value}' has no ready map; expected {cls._have_one()}")
        return value

    @classmethod
    def _have_one(cls) -> str:
        return f"one of those of {cls.library} that have one: {', '.join(names(cls.library, cls.kind))}"

    @property
    def ready(self) -> ReadyMap | None:
        """The ready map of the class; None if it has none of this kind."""
        known = ready(self.like or self.class_)
        return known if known is not None and isinstance(known.roles, self.kind) else None

    @model_validator(mode="before")
    @classmethod
    def _of_the_map(cls, data: Any) -> Any:
        """Take the model of the ready map where there is none."""
        if not isinstance(data, Mapping) or data.get("model"):
            return data
        path = data.get("like") or data.get("class")
        known = ready(path) if isinstance(path, str) else None
        return {**data, "model": known.model} if known is not None and known.model else data

    @model_serializer(mode="wrap")
    def _keys(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return the keys as a bench file has them."""
        keys = dict(handler(self))
        keys.pop("class_", None)
        return {"class": self.class_, **{name: value for name, value in keys.items() if name != "class"}}

    def _judge(self, roles: Roles, variables: Mapping[str, tuple[str, ...]], *, reads_back: bool, part: str) -> None:
        """Raise ValueError for roles that lack, and for names that nothing has.

        Args:
            variables: of each role.
            reads_back: a driver of ours reads back.
            part: path from the object to that on which statements act.
        """
        if lacking := roles.lacking(reads_back=reads_back):
            raise ValueError(
                f"'{self.like or self.class_}' has no ready map, and 'roles' lacks {', '.join(lacking)}; "
                f"expected them, or {self._have_one()}"
            )
        given = getattr(self, "roles", roles)
        members = None if part else self._members()
        own = {f"roles: {role}": getattr(given, role) for role in type(given).model_fields}
        own |= {key: getattr(self, key, ()) for key in ("settings", "settings_expect")}
        for place, lines in own.items():
            role = place.removeprefix("roles: ")
            known = (*FUNCTIONS, *variables.get(role, variables[""]))
            if strangers := unknown_names(lines, known, members):
                raise ValueError(
                    f"{place}: {', '.join(strangers)} is neither an attribute of {self.class_} nor one of "
                    f"{', '.join(known)}"
                )
            if "expect" in role and (setting := [line for line in lines if Statement(line).assigns]):
                raise ValueError(f"{place}: '{setting[0]}' sets something; expected a condition, such as one with ==")

    def _members(self) -> set[str] | None:
        """Return the attributes of the class; None if its objects get theirs when they are made, as QCoDeS's do."""
        if self.library != "pymeasure" or missing(self.library):
            return None
        kind = class_of(self.class_)
        codes = [getattr(vars(base).get("__init__"), "__code__", None) for base in kind.__mro__]
        set_there = {name for code in codes if code is not None for name in code.co_names}
        return {*dir(kind), *set_there}


class SourceOptions(AdapterOptions):
    """Keys of a source."""

    kind = SourceRoles

    family: str | None = Field(
        default=None, description="driver of ours for the same instruments, which reads back; that of the ready map"
    )
    channels: dict[str, str] = Field(
        default={}, description="channels, and the path from the object to each, empty for the object itself"
    )
    capabilities: HostCapabilities | None = Field(default=None, description="of a source that has no family")
    shortest_pulse: Second = Field(default=SHORTEST_PULSE, gt=0, description="shortest pulse, timed by the host")
    longest_pulse: Second = Field(default=10.0, gt=0, description="longest pulse, timed by the host")
    terminals: Annotated[str, AfterValidator(one_of("terminals", ("front", "rear")))] = Field(
        default="front", json_schema_extra={"x-form": "front or rear"}, description="jacks that the cables are on"
    )
    roles: SourceRoles = Field(default=SourceRoles(), description="statements by role")
    settings: Lines = Field(default=(), description="statements that follow those of set_up")
    settings_expect: Lines = Field(default=(), description="conditions that are true after settings")
    emergency: Emergency | None = Field(default=None, description="how it is made safe without the object")

    @property
    def merged(self) -> SourceRoles:
        """Statements by role, those of the ready map where the bench file has none."""
        known = self.ready
        return self.roles.over(known.roles if known is not None and isinstance(known.roles, SourceRoles) else None)

    @property
    def reads_back(self) -> str:
        """Driver of ours that reads back; "" if there is none."""
        known = self.ready
        return self.family if self.family is not None else known.family if known is not None else ""

    @property
    def paths(self) -> Mapping[str, str]:
        """Path from the object to that of each channel."""
        known = self.ready
        own = [] if not self.reads_back else family_capabilities(self).channels
        mapped = self.channels or (known.channels if known is not None else {}) or {"out": ""}
        return {channel: path for channel, path in mapped.items() if not own or channel in own}

    @model_validator(mode="after")
    def _complete(self, info: ValidationInfo) -> Self:
        if (info.context or {}).get(UNUSABLE):
            return self
        if self.reads_back:
            known = family_capabilities(self).channels
            if strangers := sorted(set(self.channels) - set(known)):
                raise ValueError(f"channels has {', '.join(strangers)}; a {self.reads_back} has {', '.join(known)}")
        elif self.capabilities is None:
            raise ValueError(
                f"'{self.class_}' has no family of ours, and 'capabilities' is missing: ranges_v, ranges_i, "
                "shortest_aperture, longest_aperture"
            )
        if self.shortest_pulse > self.longest_pulse:
            raise ValueError("shortest_pulse is above longest_pulse")
        if self.terminals != "front" and not self.merged.uses("set_up", "terminals"):
            raise ValueError(f"terminals are {self.terminals}, and no statement of set_up uses terminals")
        part = next(iter(self.paths.values()), "")
        self._judge(self.merged, SOURCE_VARIABLES, reads_back=bool(self.reads_back), part=part)
        return self


class MatrixOptions(AdapterOptions):
    """Keys of a matrix."""

    kind = MatrixRoles

    roles: MatrixRoles = Field(default=MatrixRoles(), description="statements by role")
    rows: tuple[str, ...] = Field(default=(), description="rows that it has, as the wiring spells them; empty: any")
    columns: tuple[str, ...] = Field(default=(), description="columns that it has; empty: any")
    settle: Second = Field(default=0.0, ge=0, description="how long relays move after a command that does not wait")
    emergency: Emergency | None = Field(
        default=None, description="how relays open without the object; all are open if the reply has no digit"
    )

    @property
    def merged(self) -> MatrixRoles:
        """Statements by role, those of the ready map where the bench file has none."""
        known = self.ready
        return self.roles.over(known.roles if known is not None and isinstance(known.roles, MatrixRoles) else None)

    @property
    def places(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Rows and columns that it has; empty where any are taken."""
        known = self.ready
        mapped = ((), ()) if known is None else (known.rows, known.columns)
        rows, columns = (tuple(map(str, numbers)) for numbers in mapped)
        return self.rows or rows, self.columns or columns

    @property
    def without_object(self) -> Emergency | None:
        """How relays open without the object."""
        known = self.ready
        if self.emergency is not None or known is None or not known.emergency:
            return self.emergency
        send, ask = known.emergency
        return Emergency(send=(send,), ask=ask)

    @model_validator(mode="after")
    def _complete(self, info: ValidationInfo) -> Self:
        if not (info.context or {}).get(UNUSABLE):
            self._judge(self.merged, MATRIX_VARIABLES, reads_back=True, part="")
        return self


MATRIX_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "crosspoint": ("row", "column"),
    **dict.fromkeys(("close", "open"), ("items", "device")),
    "": ("device",),
}
"""Variables of the statements of each role of a matrix; those of "" have all others."""

SOURCE_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "set_up": ("range_v", "off_state", "remote_sense", "terminals", "channel", "device"),
    "expect": ("range_v", "off_state", "remote_sense", "terminals", "channel", "device"),
    "level": ("volts", "channel", "device"),
    **dict.fromkeys(("limit", "limit_down", "expect_limit"), ("amps", "range_i", "channel", "device")),
    **dict.fromkeys(("aperture", "expect_aperture"), ("seconds", "cycles", "channel", "device")),
    **dict.fromkeys(("current", "voltage"), ("reading", "channel", "device")),
    "": ("channel", "device"),
}
"""Variables of the statements of each role; those of "" have all others."""


def family_options(options: SourceOptions) -> Model:
    """Return the options of the driver of ours that reads back; ValueError if it has none such."""
    driver, _ = declared(options.reads_back)
    if driver.kind is not DriverKind.SOURCE or driver.capabilities is None:
        raise ValueError(f"family: '{options.reads_back}' is a {driver.kind} and no source")
    given = {"model": options.model, "terminals": options.terminals}
    keys = {key: value for key, value in given.items() if value and key in driver.options.model_fields}
    return driver.options.model_validate(keys)


def family_capabilities(options: SourceOptions) -> SourceCapabilities:
    """Return the capabilities of the driver of ours that reads back; ValueError if there are none."""
    driver, _ = declared(options.reads_back)
    chosen = family_options(options)
    assert driver.capabilities is not None
    return driver.capabilities(chosen)


class PyMeasureOptions(SourceOptions):
    """Keys of a source of PyMeasure."""

    library = "pymeasure"


class QCoDeSOptions(SourceOptions):
    """Keys of a source of QCoDeS."""

    library = "qcodes"


class PyMeasureMatrixOptions(MatrixOptions):
    """Keys of a matrix of PyMeasure."""

    library = "pymeasure"


class QCoDeSMatrixOptions(MatrixOptions):
    """Keys of a matrix of QCoDeS."""

    library = "qcodes"
