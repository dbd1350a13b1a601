"""What a run of a survey and networks declares, for runs that tests write by hand."""

from labctl.analysis import figures
from labctl.core.picture import plain
from protocols.network import Network
from protocols.survey import Survey

FIGURES = figures.shown(figures.declared([Survey, Network]))
DECLARED = {
    "figures": [FIGURES[key].plain() for key in FIGURES],
    "pictures": [plain(picture) for picture in Survey.pictures],
}
