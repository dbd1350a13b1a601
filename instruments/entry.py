"""One instrument in the bench file: its driver, its address where the driver wants a wire, and the driver's options.

The keys are flat and the same for every driver. Which keys there are follows from the declaration of the driver
(`labctl.core.driver`), so that a typing error in an option of any driver is refused with file and line.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Self, cast, get_args

from pydantic import (
    BaseModel,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    SerializationInfo,
    ValidationError,
    ValidationInfo,
    create_model,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from instruments.calibration import Certificate
from instruments.carrier import Address, Carrier
from labctl.core import plugins
from labctl.core.bias import Geometry, Nominal
from labctl.core.die import Die
from labctl.core.driver import Driver, DriverKind, Wire, declared
from labctl.core.errors import BenchError, LabError
from labctl.core.model import Model
from labctl.core.pulse_source import PulseCapabilities
from labctl.core.source import SourceCapabilities
from labctl.core.switch_matrix import Scheme
from labctl.core.units import Second

UNUSABLE = "unusable drivers"
"""Key of the validation context: an entry whose driver cannot be used is kept with its fault, to make the rest safe."""
_ERROR_TYPES = frozenset(get_args(core_schema.ErrorType))


class Common(Model):
    """Keys of every entry."""

    patience: Second = Field(
        default=10.0, ge=0, description="how long it is tried again when it has to be made safe and does not answer"
    )

    calibration: Certificate | None = Field(
        default=None,
        description="its calibration as its papers have it; recorded with every die, and compared with today",
    )
    serial: str | None = Field(
        default=None,
        min_length=1,
        description="serial number that the instrument has to have; 'labctl check --pin' writes it",
    )
    unpinned: bool = Field(
        default=False,
        description="accepted without a serial number, although an equal one could be exchanged with it unseen",
    )


class Entry(Common):
    """An instrument of the bench file.

    Args:
        driver: its name among the installed drivers.
        address: None if the driver wants no wire.
        options: in the driver's own model.
        fault: why the driver cannot be used; only in a bench that is read to be made safe.
    """

    group: ClassVar[str] = plugins.INSTRUMENTS
    """Entry point group of its driver."""

    driver: str
    address: Address | None = None
    options: Model = Model()
    fault: str = ""

    @property
    def declaration(self) -> Driver:
        """The declaration of its driver; BenchError if it cannot be used."""
        if self.fault:
            raise BenchError(self.fault)
        return declared(self.driver, self.group)[0]

    @property
    def foreign(self) -> bool:
        """Whether its driver is of another distribution."""
        return plugins.find(self.group, self.driver).foreign

    @property
    def kind(self) -> DriverKind | None:
        """Kind of its driver; None if the driver cannot be used."""
        return None if self.fault else self.declaration.kind

    @property
    def resource(self) -> str | None:
        """Address, or what else identifies the instrument; None if nothing does."""
        if self.address is not None:
            return self.address.whole
        if self.fault or (location := self.declaration.location) is None:
            return None
        return str(_theirs(self.driver, lambda: location(self.options), "its location"))

    @property
    def emulator(self) -> tuple[str, Any] | None:
        """The emulator that its driver names for these options, and its options; BenchError if that fails."""
        declaration = self.declaration
        named: tuple[str, Any] | None = _theirs(
            self.driver, lambda: declaration.emulator_of(self.options), "its emulator"
        )
        return named

    @property
    def dead_socket(self) -> int | None:
        """Port at which the instrument drops raw sockets that it still holds; None if there is none."""
        own = None if self.address is None else self.address.dead_socket
        return self.declaration.dead_socket if own is None else own

    @property
    def node(self) -> int | None:
        """Number of the instrument on the bus on which scripts of another one reach it; None if it is on none."""
        if self.fault or (node := self.declaration.node) is None:
            return None
        number: int | None = _theirs(self.driver, lambda: node(self.options), "its node")
        return number

    @property
    def capabilities(self) -> SourceCapabilities:
        """Capabilities of a source, as its driver declares them for these options.

        Raises:
            BenchError: it is no source, or the declaration fails.
        """
        capabilities = self.declaration.capabilities
        if capabilities is None:
            raise BenchError(f"'{self.driver}' is a {self.kind} and has no capabilities of a source")
        known = _theirs(self.driver, lambda: capabilities(self.options), "its capabilities")
        if not isinstance(known, SourceCapabilities):
            raise BenchError(f"the capabilities of driver '{self.driver}' are {known!r}; expected SourceCapabilities")
        return known

    @property
    def pulses(self) -> PulseCapabilities:
        """Capabilities of a pulse source, as its driver declares them; BenchError if it is none, or that fails."""
        pulses = self.declaration.pulses
        known = pulses and _theirs(self.driver, lambda: pulses(self.options), "its capabilities")
        if not isinstance(known, PulseCapabilities):
            raise BenchError(f"the pulses of driver '{self.driver}' are {known!r}; expected PulseCapabilities")
        return known

    @property
    def geometry(self) -> Geometry:
        """Shape of the dies that a board drives, of polarity 1; BenchError if the declaration fails."""
        geometry = self.declaration.geometry
        shape = geometry and _theirs(self.driver, lambda: geometry(self.options), "the geometry of its dies")
        if not isinstance(shape, Geometry):
            raise BenchError(f"the geometry of driver '{self.driver}' is {shape!r}; expected a Geometry")
        return shape

    def planned(self, nominal: Nominal, polarity: int) -> Die:
        """Return the die that a board is planned with; BenchError if the declaration fails."""
        planned = self.declaration.planned
        if planned is None:
            raise BenchError(f"'{self.driver}' is a {self.kind} and no board")
        die: Die = _theirs(
            self.driver, lambda: planned(self.options, nominal, polarity), "the die that is planned with"
        )
        return die

    @property
    def scheme(self) -> Scheme:
        """Return the spelling of crosspoints of a matrix, as its driver declares it for these options.

        Raises:
            BenchError: it is no matrix, or the declaration fails.
        """
        scheme = self.declaration.scheme
        if scheme is None:
            raise BenchError(f"'{self.driver}' is a {self.kind} and has no crosspoints")
        spelling = _theirs(self.driver, lambda: scheme(self.options), "its scheme of crosspoints")

        def crosspoint(row: str, column: str) -> str:
            try:
                return str(spelling(row, column))
            except ValueError:
                raise
            except Exception as error:
                raise BenchError(
                    f"driver '{self.driver}' failed to spell a crosspoint: {type(error).__name__}: {error}"
                ) from error

        return crosspoint

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Read the flat keys: those of every entry, of the wire, and of the driver's own model."""
        if isinstance(data, cls) or not isinstance(data, Mapping):
            return handler(data)
        rest = {key: value for key, value in data.items() if key != "driver"}
        lines: list[InitErrorDetails] = []
        common = _part(Common, rest, info, lines)
        name = data.get("driver")
        if not isinstance(name, str):
            kind = "string_type" if "driver" in data else "missing"
            raise _refusal([InitErrorDetails(type=kind, loc=("driver",), input=name)])
        try:
            declaration = _usable(name, cls.group)
        except BenchError as error:
            if not (info.context or {}).get(UNUSABLE):
                raise _refusal([_line(f"driver {error}", ("driver",), name)]) from error
            address = _part(Address, rest, info, [])
            return cls._make(name, common, address, fault=f"driver {error}")
        address = _part(Address, rest, info, lines) if declaration.addressed else None
        options = None
        try:
            options = _validated(declaration.options, rest, info)
        except ValidationError as error:
            lines += _lines(error)
        except Exception as error:  # a validator of a driver may raise anything
            text = f"driver '{name}' failed to read its options: {type(error).__name__}: {error}"
            lines.append(_line(text, (), rest))
        if not lines:
            entry = cls._make(name, common, address, options)
            try:
                if (
                    address is not None
                    and declaration.wire is Wire.BINARY
                    and address.carrier in (Carrier.GATEWAY, Carrier.SERIAL)
                ):
                    text = f"driver '{name}' speaks in bytes, not in lines; a {address.carrier} does not carry them"
                    raise BenchError(text)
                match declaration.kind:  # what a declaration fails to tell is raised here, where the line is known
                    case DriverKind.SOURCE:
                        entry.capabilities  # noqa: B018
                    case DriverKind.PULSES:
                        entry.pulses  # noqa: B018
                    case DriverKind.BOARD:
                        entry.geometry  # noqa: B018
                entry.resource  # noqa: B018
                return entry
            except BenchError as error:
                lines = [_line(str(error), (), rest)]
        if not (info.context or {}).get(UNUSABLE):
            raise _refusal(lines)
        return cls._make(name, common, address, fault=str(_refusal(lines)))

    @classmethod
    def _make(cls, name: str, common: Any, address: Any, options: Any = None, fault: str = "") -> Self:
        """Return an entry of parts that were validated."""
        both = common or Common()
        parts = {"driver": name, "address": address, "options": options or Model()}
        parts |= {key: getattr(both, key) for key in Common.model_fields}
        return cast("Self", cls.model_construct(**parts, fault=fault))

    @model_serializer(mode="plain")
    def _flat(self, info: SerializationInfo) -> dict[str, Any]:
        """Return the keys as a bench file has them, in SI units."""
        mode = "json" if info.mode == "json" else "python"
        address = {} if self.address is None else self.address.model_dump(mode=mode)
        common = Common.model_construct(**{key: getattr(self, key) for key in Common.model_fields}).model_dump(
            mode=mode
        )
        return {"driver": self.driver, **common, **address, **self.options.model_dump(mode=mode)}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of the keys of every installed driver that can be loaded."""
        models = {model.__name__: model.__pydantic_core_schema__ for model in _models(cls.group)}
        return handler(core_schema.tagged_union_schema(models, discriminator="driver"))


def _usable(name: str, group: str) -> Driver:
    """Return the declaration of a driver; BenchError if there is none, or its options have names of other keys."""
    declaration, plugin = declared(name, group)
    taken = {"driver", *Common.model_fields, *(Address.model_fields if declaration.addressed else ())}
    clash = sorted(taken & set(declaration.options.model_fields))
    if clash:
        names = ", ".join(clash)
        raise BenchError(f"'{name}' of {plugin.origin} names its options {names}, which are keys of every entry")
    return declaration


def _part(model: type[Model], rest: dict[str, Any], info: ValidationInfo, lines: list[InitErrorDetails]) -> Any:
    """Take the keys of `model` out of `rest` and return it; None, and its errors in `lines`, if they are wrong."""
    own = {key: rest.pop(key) for key in model.model_fields if key in rest}
    try:
        return _validated(model, own, info)
    except ValidationError as error:
        lines += _lines(error)
        return None


def _validated(model: type[Model], keys: Mapping[str, Any], info: ValidationInfo) -> Model:
    """Return `model` with the strictness of the file that is read."""
    if info.mode == "json":
        strict = bool((info.context or {}).get("strict"))
        return model.model_validate_json(json.dumps(keys), strict=strict, context=info.context)
    return model.model_validate(keys, context=info.context)


def _theirs(driver: str, act: Any, subject: str) -> Any:
    """Return the result of `act`, a function of a declaration; BenchError names the driver, whatever it raises."""
    try:
        return act()
    except LabError:
        raise
    except Exception as error:
        raise BenchError(f"driver '{driver}' failed to tell {subject}: {type(error).__name__}: {error}") from error


def _line(text: str, loc: tuple[str, ...], value: Any) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError("driver", "{text}", {"text": text}), loc=loc, input=value)


def _lines(error: ValidationError) -> list[InitErrorDetails]:
    """Return the errors of a part of an entry, to be reported with those of other parts."""
    return [
        InitErrorDetails(
            type=line["type"]
            if line["type"] in _ERROR_TYPES
            else PydanticCustomError(line["type"], "{text}", {"text": line["msg"]}),
            loc=line["loc"],
            input=line["input"],
            ctx=line.get("ctx", {}),
        )
        for line in error.errors(include_url=False)
    ]


def _refusal(lines: list[InitErrorDetails]) -> ValidationError:
    return ValidationError.from_exception_data("Entry", lines)


def _models(group: str) -> Iterator[type[BaseModel]]:
    """Yield a model of the flat keys of every installed driver that can be loaded."""
    names = ", ".join(plugins.installed(group))
    for name in plugins.installed(group):
        try:
            declaration = _usable(name, group)
        except BenchError:
            continue
        bases = (declaration.options, *((Address,) if declaration.addressed else ()), Common)
        tag: Any = (Literal[name], Field(description=f"one of {names}"))
        summary = (declaration.make.__doc__ or name).strip().splitlines()[0]
        yield create_model(name, __base__=_distinct(bases), __doc__=summary, driver=tag)


def _distinct(bases: tuple[type[Model], ...]) -> tuple[type[Model], ...]:
    """Return the bases without one that another one derives from."""
    return tuple(b for b in bases if not any(o is not b and issubclass(o, b) for o in bases))
