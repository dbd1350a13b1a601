"""The notifications of a run, as a campaign file sets them."""

from typing import Literal, Self

from pydantic import Field, model_validator

from labctl.core.model import Model
from labctl.core.secrets import has_address
from labctl.core.units import Second

Occasion = Literal["alarm", "die", "stop", "end"]
"""An alarm; a die that is finished; a run that stops before its end; a run that has ended."""


class Notify(Model):
    """A command, a tag of apprise's configuration, or both, and the occasions on which they are notified.

    A campaign is copied into every run, so it names a tag and no address: addresses and secrets stay where they are.
    """

    command: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="program and its arguments; gets the message as JSON on standard input, and LABCTL_EVENT and "
        "LABCTL_TEXT in its environment",
    )
    tag: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        json_schema_extra={"x-form": "one word of ASCII letters, digits, '_', '.' and '-'"},
        description="all addresses with this tag in the configuration file of apprise are notified",
    )
    on: tuple[Occasion, ...] = Field(
        default=("alarm", "stop", "end"), min_length=1, description="occasions: alarm, die, stop, end"
    )
    timeout: Second = Field(default=10.0, gt=0, le=600, description="how long one try of the command may take")

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if any(has_address(word) for word in self.command or ()):
            raise ValueError(
                "found an address in the command, expected a program that reads it from a file of its own, or a tag: "
                "campaigns are copied into runs, and who has the address of a webhook can post to it (a path begins "
                "with / or ./)"
            )
        if self.command is None and self.tag is None:
            raise ValueError("nobody is notified, expected a command, a tag, or both")
        return self
