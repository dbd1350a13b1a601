"""The campaign model, with every registered procedure as a stage."""

from functools import cache
from typing import Any

from pydantic import ConfigDict, Field, create_model

from labctl.config.campaign import Campaign, OneStage
from labctl.core.fiducial import Fiducial
from labctl.station.plugins import procedures
from labctl.station.stages import stage_field


class _Stage(OneStage):
    model_config = ConfigDict(
        json_schema_extra={
            "x-more": ", which are installed; docs/write-a-protocol.md says how to install a protocol of your own"
        }
    )


@cache
def campaign_model() -> type[Campaign]:
    """Return the campaign model with one optional key per registered procedure in each stage."""
    options: dict[str, Any] = {}
    for name, kind in procedures().items():
        summary = (kind.__doc__ or name).strip().splitlines()[0]
        options[name] = (stage_field(name, kind), Field(default=None, description=summary))
    stage = create_model("Stage", __base__=_Stage, __doc__="One procedure with its parameters.", **options)
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
