"""The base of everything that people write: frozen, unknown keys refused."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Base of everything people write: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)
