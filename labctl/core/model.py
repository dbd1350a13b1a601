"""The base of everything that people write: frozen, unknown keys refused; and lines, names and places in it."""

from collections.abc import Callable, Collection
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from labctl.core.names import FARTHEST, NAME, file_name
from labctl.core.texts import named_character, odd_character


class Model(BaseModel):
    """Base of everything people write: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)


def one_of(what: str, names: Collection[str]) -> Callable[[str], str]:
    """Return a validator of a key whose value is one of `names`; `what` is said of another one.

    >>> one_of("model", ["707B", "708B"])("707B")
    '707B'
    """

    def known(name: str) -> str:
        if name not in names:
            raise ValueError(f"{what} '{name}' is not one of {', '.join(names)}")
        return name

    return known


def one_line(text: str) -> str:
    r"""Return `text`, which is kept with a run; ValueError if it is more than a line that files can hold.

    >>> one_line("6-inch wafer, second try")
    '6-inch wafer, second try'
    """
    odd = odd_character(text) or next((c for c in text if c in "\t\n"), "")
    if odd:
        raise ValueError(f"found {named_character(odd)}, expected one line of printable text")
    return text


LONGEST = 200
"""Characters of a line; 255 is what a text of STDF holds."""
Line = Annotated[str, Field(max_length=LONGEST), AfterValidator(one_line)]
"""One line that people write and read: it is stored, shown on terminals and pages, and exported."""

Name = Annotated[
    str, AfterValidator(file_name), WithJsonSchema({"type": "string", "pattern": NAME, "examples": ["D80"]})
]
"""A name of which files and folders of a run are made."""
DieIndex = Annotated[int, Field(ge=-FARTHEST, le=FARTHEST)]
"""Column or row of a die on a map."""
