"""Procedures by name, of this suite and of other distributions, and the campaign model with them as stages."""

from functools import cache
from importlib import metadata
from typing import Any

from pydantic import Field, create_model

from instruments.fiducial import Fiducial
from labctl.config.campaign import Campaign, OneStage
from labctl.core.errors import BenchError
from labctl.core.procedure import Procedure


@cache
def registry() -> dict[str, type[Procedure]]:
    """Return every procedure by name; distributions register theirs under the entry points `labctl.protocols`."""
    procedures: dict[str, type[Procedure]] = {}
    for entry in metadata.entry_points(group="labctl.protocols"):
        kind = entry.load()
        if not (isinstance(kind, type) and issubclass(kind, Procedure)):
            raise BenchError(f"the protocol '{entry.name}' ({entry.value}) is not a Procedure")
        procedures[entry.name] = kind
    if not procedures:
        raise BenchError("no protocols are registered; 'pip install -e .' in the checkout registers ours")
    return dict(sorted(procedures.items()))


@cache
def campaign_model() -> type[Campaign]:
    """Return the campaign model with one optional key per registered procedure in each stage."""
    options: dict[str, Any] = {}
    for name, kind in registry().items():
        summary = (kind.__doc__ or name).strip().splitlines()[0]
        options[name] = (kind.settings() | None, Field(default=None, description=summary))
    stage = create_model("Stage", __base__=OneStage, __doc__="One procedure with its parameters.", **options)
    return create_model(
        "CampaignFile",
        __base__=Campaign,
        __doc__="A campaign: stages over dies.",
        stages=(tuple[stage, ...], Field(min_length=1, description="what is done to each die, in order")),
        fiducials=(
            tuple[Fiducial, ...],
            Field(default=(), description="places whose electrical fact is known, besides those of the wafer file"),
        ),
    )
