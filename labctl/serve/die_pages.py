"""The dies that were opened on the page of one run, as HTML: a die under way is drawn anew at a pace."""

from collections import OrderedDict
from collections.abc import Callable

from labctl.report.pace import Pace

MOST = 16
"""Dies that are kept; of more, the one that was asked for longest ago is drawn again."""


class DiePages:
    """What was drawn of dies, by name.

    Args:
        pace: of drawing a die anew that has changed. To draw one that is not kept is not put off, and counts.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace, self._kept = pace, OrderedDict[str, tuple[object, str]]()

    def html(self, name: str, identity: object, draw: Callable[[], str]) -> str:
        """Return a die as HTML: what `draw` returns, or what it did where that is still so or to draw costs too much.

        Args:
            identity: what is another if the die has to be drawn again.
        """
        kept = self._kept.pop(name, None)
        if kept is None or (kept[0] != identity and self._pace.due):
            with self._pace.work():
                kept = identity, draw()
        self._kept[name] = kept
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return kept[1]
