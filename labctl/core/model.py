"""The base of everything that people write: frozen, unknown keys refused."""

from collections.abc import Callable, Collection

from pydantic import BaseModel, ConfigDict


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
