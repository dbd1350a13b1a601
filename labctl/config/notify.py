"""The notifications of a run, as a campaign file sets them."""

import shutil
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from labctl.core.errors import BenchError
from labctl.core.model import Model
from labctl.core.units import Second

Occasion = Literal["alarm", "die", "stop", "end"]
"""An alarm; a die that is finished; a run that stops before its end; a run that has ended."""


class Notify(Model):
    """A command or a webhook, and the occasions on which it is notified."""

    command: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="program and its arguments; gets the message as JSON on standard input, and LABCTL_EVENT and "
        "LABCTL_TEXT in its environment",
    )
    webhook: str | None = Field(default=None, description="http or https address; gets the message by POST as JSON")
    on: tuple[Occasion, ...] = Field(
        default=("alarm", "stop", "end"), min_length=1, description="occasions: alarm, die, stop, end"
    )
    timeout: Second = Field(default=10.0, gt=0, le=600, description="how long one try may take")

    @field_validator("webhook")
    @classmethod
    def _is_an_address(cls, webhook: str | None) -> str | None:
        if webhook is not None:
            parts = urlsplit(webhook)
            if parts.scheme not in ("http", "https") or not parts.hostname or not webhook.isascii() or " " in webhook:
                raise ValueError("is no address of a webhook; expected one such as https://chat.example.org/hooks/lab")
        return webhook

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if self.command is None and self.webhook is None:
            raise ValueError("nobody is told: name a command, a webhook, or both")
        return self

    def require_command(self) -> None:
        """Raise BenchError if the command does not exist, so that the run is refused before it begins."""
        if self.command is not None and shutil.which(self.command[0]) is None:
            raise BenchError(f"notify: the command '{self.command[0]}' is not there, or may not be executed")
