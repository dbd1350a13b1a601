"""The stages of a campaign: which keys each procedure has there, and the procedures with their inputs read."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, WrapValidator, create_model
from pydantic_core import ErrorDetails, PydanticCustomError

from labctl import files
from labctl.config.campaign import Campaign
from labctl.core.errors import BenchError, LabError
from labctl.core.inputs import InputReader
from labctl.core.model import Model
from labctl.core.procedure import Procedure
from labctl.files import document
from labctl.station.plugins import input_readers, origin_of, procedures
from labctl.station.run_spec import InputSource

STAGES = "stages"


def stage_field(name: str, kind: type[Procedure]) -> Any:
    """Return the annotation of the key `name` of a stage: the settings of a procedure, its inputs as texts.

    What the code of another distribution raises while it validates is reported as its own.
    """
    return Annotated[written(kind) | None, WrapValidator(partial(_attributed, name, kind))]


def refused_field(why: str) -> Any:
    """Return the annotation of the key of a procedure that cannot be used: whatever stands there is refused."""

    def refuse(value: Any) -> Any:
        raise PydanticCustomError("plugin", "{text}", {"text": why})

    return Annotated[Any, BeforeValidator(refuse)]


def written(kind: type[Procedure]) -> type[Model]:
    """Return the model of a procedure as a campaign file writes it: inputs are names or paths.

    A procedure without inputs is its own model; one with inputs is validated as a whole when they have been read.

    Raises:
        BenchError: nothing that is installed reads one of its inputs.
    """
    if not kind.inputs():
        return kind
    fields: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        if name in kind.inputs():
            reader = reader_of(kind, name)
            text: Any = Annotated[str, files.PathAsWritten(exists=True, names=reader.names)]
            default = ... if field.is_required() else None
            about = field.description or reader.about
            fields[name] = (text if field.is_required() else text | None, Field(default=default, description=about))
        else:
            fields[name] = (field.annotation, field)
    return create_model(kind.__name__, __base__=Model, __doc__=kind.__doc__, **fields)


def reader_of(kind: type[Procedure], field: str) -> InputReader:
    """Return the reader of an input of a procedure; BenchError if no installed distribution has one."""
    wanted = kind.inputs()[field]
    reader = next((r for r in input_readers() if r.kind is wanted), None)
    if reader is None:
        raise BenchError(
            f"the protocol '{kind.name}' ({origin_of(kind)}) asks for '{field}', a {wanted.__name__}, and nothing "
            "reads one; expected an InputReader under the entry points labctl.inputs"
        )
    return reader


def read_stages(
    campaign: files.Loaded[Campaign], door: files.Door
) -> tuple[tuple[Procedure, ...], tuple[Mapping[str, InputSource], ...]]:
    """Return the procedures of a campaign, with their inputs read through `door`, and where the inputs came from.

    Raises:
        BenchError: naming file, line and key of every stage that a procedure refuses, or whose input cannot be read.
    """
    stages: list[Procedure] = []
    inputs: list[dict[str, InputSource]] = []
    problems: list[str] = []
    for number, stage in enumerate(campaign.value.stages):  # type: ignore[attr-defined]
        name, parameters = stage.procedure()
        at = (STAGES, number, name)
        kind = procedures()[name]
        inputs.append({})
        if not kind.inputs():
            stages.append(parameters)
            continue
        values = {key: getattr(parameters, key) for key in type(parameters).model_fields}
        before = len(problems)
        for field in kind.inputs():
            if values[field] is not None:
                view = door.view()
                try:
                    inputs[-1][field], values[field] = _read(kind, field, values[field], view)
                except LabError as error:
                    problems.append(str(campaign.error(str(error), *at, field)))
        if len(problems) == before:
            try:
                stages.append(_made(kind, values, parameters.model_fields_set))
            except ValidationError as error:
                details = error.errors(include_url=False, include_input=False)
                problems += campaign.explained([_placed(detail, at) for detail in details])
            except LabError as error:
                problems.append(str(campaign.error(str(error), *at)))
    if problems:
        raise BenchError("\n".join(problems))
    return tuple(stages), tuple(inputs)


def overrides_of_stages(path: Path, overrides: Mapping[str, str]) -> dict[str, str]:
    """Return overrides in which the name of an input alone stands for that input of every stage that has it.

    `solutions` becomes `stages.1.network.solutions`. All others are returned as they are.

    Raises:
        BenchError: no stage has an input of that name, and some procedure has.
    """
    inputs = {field for kind in procedures().values() for field in kind.inputs()}
    short = inputs & overrides.keys() - Campaign.model_fields.keys()
    if not short:
        return dict(overrides)
    spread = {key: value for key, value in overrides.items() if key not in short}
    for key in sorted(short):
        places = [
            f"{STAGES}.{number}.{name}.{key}" for number, name in _stages_in(path, overrides) if key in _inputs(name)
        ]
        if not places:
            raise BenchError(f"--set {key}={overrides[key]}: no stage of {path} asks for '{key}'")
        spread |= {place: overrides[key] for place in places if place not in overrides}
    return spread


def _inputs(name: str) -> Mapping[str, Any]:
    return procedures()[name].inputs() if name in procedures() else {}


def _stages_in(path: Path, overrides: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Yield number and procedure of every stage in a campaign file; what is wrong with it is said when it is read."""
    if STAGES in overrides:
        stages, _ = document.parse_value(overrides[STAGES], (STAGES,))
    else:
        root = document.read(path).root
        stages = root.child(STAGES) if root is not None else None
    for number, stage in enumerate(stages.value if stages is not None and isinstance(stages.value, list) else ()):
        if isinstance(stage.value, dict):
            yield from ((number, name) for name in stage.value)


def _read(kind: type[Procedure], field: str, text: str, view: files.View) -> tuple[InputSource, Any]:
    """Return where an input came from, and the input.

    Raises:
        BenchError: it cannot be read; a reader that fails otherwise is named.
    """
    reader = reader_of(kind, field)
    try:
        value = reader.read(text, view)
    except LabError:
        raise
    except OSError as error:
        raise BenchError(f"{error.filename or text} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise BenchError(f"{text}: {error}") from error
    except Exception as error:
        raise BenchError(_fault(f"the reader of {text} ({origin_of(reader.read)})", error)) from error
    if not isinstance(value, reader.kind):
        raise BenchError(
            f"the reader of {text} ({origin_of(reader.read)}) gives a {type(value).__name__}, expected a "
            f"{reader.kind.__name__}"
        )
    return InputSource(text, view.files, view.contents), value


def _made(kind: type[Procedure], values: Mapping[str, Any], given: set[str]) -> Procedure:
    try:
        return kind(**{key: value for key, value in values.items() if key in given})
    except (ValidationError, LabError):
        raise
    except Exception as error:
        raise BenchError(_fault(f"the protocol '{kind.name}' ({origin_of(kind)})", error)) from error


def _placed(error: ErrorDetails, at: tuple[str | int, ...]) -> ErrorDetails:
    return {**error, "loc": (*at, *error["loc"])}


def _attributed(name: str, kind: type[Procedure], value: Any, handler: Callable[[Any], Any]) -> Any:
    try:
        return handler(value)
    except ValidationError:
        raise
    except LabError as error:
        text = str(error)
    except Exception as error:
        text = _fault(f"the protocol '{name}' ({origin_of(kind)})", error)
    raise PydanticCustomError("plugin", "{text}", {"text": text})


def _fault(whose: str, error: Exception) -> str:
    return f"{whose} failed with {type(error).__name__}: {error}"
