"""The figures of merit of a campaign: those that its stages declare, and whether its rules name them."""

from collections.abc import Iterable, Sequence
from typing import Any

from labctl.analysis import figures
from labctl.config.bins import Bound, no_figure
from labctl.config.campaign import ACCEPTED, Campaign
from labctl.core.errors import BenchError
from labctl.core.figure import Figures, sizes
from labctl.core.picture import Picture, plain
from labctl.core.procedure import Procedure
from labctl.core.site import Site
from labctl.files import Loaded


def names_on(declared: Figures, sites: Iterable[Site]) -> list[str]:
    """Return the names of the figures on these dies: those of junctions by size on dies whose kernels differ."""
    groups = [sizes(site.description.diameters.tolist()) for site in sites]
    names: dict[str, None] = {}
    for key in declared:
        for labels in groups if declared[key].by_size else ({},):
            names |= dict.fromkeys([f"{key}[{label}]" for label in labels] or [key])
    return list(names)


def check_rules(
    loaded: Loaded[Any],
    stages: Sequence[Procedure],
    sites: Sequence[Site],
    visit: Sequence[Procedure],
    golden: Site | None,
) -> None:
    """Compare the figures that a campaign's rules name with those that its stages declare.

    Args:
        sites: the dies that are judged; `golden`: the one that is visited, by the stages of `visit`.

    Raises:
        BenchError: two stages declare one figure differently, no stage gives a figure that a rule names, or a value has
            another unit; with file, line and key.
    """
    campaign: Campaign = loaded.value
    declared = _declared(stages)
    names = names_on(declared, sites)
    own = [(("bins", k, "when"), rule.when) for k, rule in enumerate(campaign.bins)]
    keys = {bin_: key for key, (bin_, _, _) in ACCEPTED.items()}
    accepted = [(("accept", keys[rule.bin]), rule.when) for rule in campaign.accept.rules]
    for path, condition in (*own, *accepted):
        for part in condition.split(" and "):
            try:
                Bound.parse(part).check(declared, names)
            except ValueError as error:
                raise loaded.error(f"'{condition}': {error}", *path) from error
    if campaign.batch.golden is not None and golden is not None:
        visited = names_on(_declared(visit), [golden])
        for name in campaign.batch.golden.drift:
            if name not in visited:
                text = no_figure(name, visited).replace("The stages of this campaign give", "A visit gives")
                text += "" if name not in names else "; 'measure: survey', which pulses cells, gives those of a survey"
                raise loaded.error(text, "batch", "golden", "drift", name)


def _declared(stages: Iterable[Procedure]) -> Figures:
    try:
        return figures.declared(stages)
    except ValueError as error:
        raise BenchError(f"the stages of this campaign do not go together: {error}") from error


def described(stages: Sequence[Procedure], visit: Sequence[Procedure] = ()) -> dict[str, Any]:
    """Return what a run says of its figures and pictures, for its meta: `figures` and `pictures`.

    A picture has the name of the first protocol that declares it.
    """
    every = (*stages, *visit)
    shown = figures.shown(_declared(every))
    pictures: dict[Picture, str] = {}
    for procedure in every:
        for picture in procedure.pictures:
            pictures.setdefault(picture, procedure.name)
    return {
        "figures": [shown[key].plain() for key in shown],
        "pictures": [{**plain(picture), "protocol": name} for picture, name in pictures.items()],
    }
