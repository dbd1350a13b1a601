"""The stages of a visit of the reference die."""

from collections.abc import Sequence

from labctl.config.reference_die import Golden, VisitKind
from labctl.core.errors import BenchError
from labctl.core.procedure import Procedure
from protocols.by_hand import MapCells
from protocols.settings import ReadSettings
from protocols.survey import Survey


def stages_of(golden: Golden, stages: Sequence[Procedure]) -> tuple[Procedure, ...]:
    """Return the stages of a visit; cells are read with the settings of the campaign's `stages`.

    Raises:
        BenchError: a visit is to be a survey, and the campaign has none.
    """
    if golden.measure is VisitKind.SURVEY:
        if not (surveys := tuple(p for p in stages if isinstance(p, Survey))):
            raise BenchError("batch.golden.measure is 'survey', and the campaign has no stage 'survey'")
        return surveys[:1]
    fields = (value for p in stages for value in (p, *(getattr(p, name) for name in type(p).model_fields)))
    read = next((value for value in fields if isinstance(value, ReadSettings)), ReadSettings())
    return (MapCells(**{name: getattr(read, name) for name in ReadSettings.model_fields}),)
