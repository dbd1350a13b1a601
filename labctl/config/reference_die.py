"""The reference die (`golden`) of a campaign file, which is measured again and again."""

from enum import StrEnum

from pydantic import Field, field_validator

from labctl.core.model import Model
from labctl.core.units import Ratio


class VisitKind(StrEnum):
    """How the reference die is measured at each visit."""

    READ = "read"
    SURVEY = "survey"


class Golden(Model):
    """A die that is measured again and again, to see whether the bench drifts; the campaign leaves it as it is."""

    die: str = Field(min_length=1, description="name of the die; it is visited only, and counts in no yield")
    every: int = Field(gt=0, description="it is measured first, after so many dies each, and at the end")
    drift: dict[str, Ratio] = Field(
        min_length=1, description="largest relative change of a figure against the first visit: {r_p: 3 %}"
    )
    measure: VisitKind = Field(
        default=VisitKind.READ,
        description="read: every cell as it is, without a pulse; survey: the campaign's survey, which pulses each cell",
    )

    @field_validator("drift")
    @classmethod
    def _positive(cls, value: dict[str, float]) -> dict[str, float]:
        for name, limit in value.items():
            if not limit > 0:
                raise ValueError(f"the drift of {name} is limited to {limit}; expected more than 0")
        return value
