"""The campaign model, with every registered procedure as a stage."""

from functools import cache
from typing import Any

from pydantic import ConfigDict, Field, create_model

from labctl.config.campaign import Campaign, OneStage
from labctl.core import plugins
from labctl.core.errors import BenchError
from labctl.core.fiducial import Fiducial
from labctl.core.procedure import Procedure
from labctl.station.plugins import procedures, unusable
from labctl.station.stages import refused_field, stage_field


class _Stage(OneStage):
    model_config = ConfigDict(
        json_schema_extra={
            "x-more": ", which are installed; docs/write-a-protocol.md says how to install a protocol of your own"
        }
    )


def _field(name: str, kind: type[Procedure]) -> Any:
    """Return the annotation of a procedure's key; a stranger's that no file can have is refused where one has it."""
    try:
        return stage_field(name, kind)
    except BenchError as error:
        if not any(plugin.foreign for plugin in plugins.registered(plugins.PROTOCOLS) if plugin.name == name):
            raise
        return refused_field(str(error))


@cache
def campaign_model() -> type[Campaign]:
    """Return the campaign model with one optional key per registered procedure in each stage."""
    options: dict[str, Any] = {}
    for name, kind in procedures().items():
        summary = (kind.__doc__ or name).strip().splitlines()[0]
        options[name] = (_field(name, kind), Field(default=None, description=summary))
    for name, why in unusable().items():
        options[name] = (refused_field(why), Field(default=None, description="cannot be used"))
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
