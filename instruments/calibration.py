"""Calibration of instruments: what they say of it themselves, and the certificate that the bench file names.

Neither is needed for a run, and neither stops one: both are recorded with every die, shown by `check` and the report.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any, Self, cast

from pydantic import Field, model_validator

from instruments.interfaces import has_method
from labctl.core.driver import Calibrated, Calibration
from labctl.core.model import Line, Model


class Certificate(Model):
    """The calibration of an instrument as its papers have it."""

    certificate: Line = Field(default="", max_length=200, description="number of the certificate and who issued it")
    due: date | None = Field(default=None, description="last day on which it is valid, as 2027-03-31")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.certificate and self.due is None:
            raise ValueError("found neither 'certificate' nor 'due', expected one of them or both")
        return self


def calibration_text(driver: Any, certificate: Certificate | None, today: date) -> str:
    """Return what is known of the calibration of a connected instrument, in one line; "" if nothing is.

    Args:
        driver: is asked if it has a method `calibration`.
        today: judges what is overdue.

    Raises:
        InstrumentError: it does not answer.
    """
    dates: Mapping[str, Calibration] = {}
    if has_method(driver, "calibration"):
        dates = cast("Calibrated", driver).calibration()
    parts = [f"{channel} {text}".strip() for channel, one in dates.items() if (text := _dates(one, today))]
    if certificate is not None:
        words = f"certificate {certificate.certificate}" if certificate.certificate else "by the bench file"
        parts.append(", ".join([words, *_due(certificate.due, today)]))
    return "; ".join(parts)


def _dates(one: Calibration, today: date) -> str:
    calibrated = [] if one.done is None else [f"calibrated {one.done.isoformat()}"]
    return ", ".join([*calibrated, *_due(one.due, today)])


def _due(due: date | None, today: date) -> list[str]:
    return [] if due is None else [f"due {due.isoformat()}{', OVERDUE' if due < today else ''}"]
