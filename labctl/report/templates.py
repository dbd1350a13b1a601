"""Templates of pages about a run: where they lie, and how times, sizes and names are written in them."""

import re
import time
from functools import cache
from html import escape
from importlib.resources import files as packaged
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from rich.filesize import decimal

from labctl.terminal.progress import duration
from labctl.wafer_maps.picture import ink


@cache
def templates(package: str = "labctl.report") -> Environment:
    """Return the templates that lie in `package`, and those of the report beside them."""
    homes = [PackageLoader(name, "") for name in dict.fromkeys((package, "labctl.report"))]
    environment = Environment(
        loader=ChoiceLoader(homes), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= _FILTERS
    environment.globals["swatch"] = swatch
    return environment


def packaged_text(name: str, package: str = "labctl.report") -> str:
    """Return the text of a file that lies in `package`."""
    return (packaged(package) / name).read_text(encoding="utf-8")


def swatch(colour: str, letter: str = "") -> Markup:
    """Return a small square of a colour, "" for none, with a letter; no style is inline, which a page may forbid."""
    letter_colour = ink(colour) if colour else "currentColor"
    text = f'<text x="10" y="14.5" text-anchor="middle" font-size="13" fill="{letter_colour}">{escape(letter)}</text>'
    return Markup(
        '<svg class="swatch" viewBox="0 0 20 20" aria-hidden="true">'
        f'<rect x=".5" y=".5" width="19" height="19" rx="3" fill="{colour or "none"}"/>{text if letter else ""}</svg>'
    )


def clock(utc: float, seconds: bool = False) -> str:
    """Return s since 1970 as the clock of this place shows it."""
    return time.strftime("%H:%M:%S" if seconds else "%H:%M", time.localtime(utc))


def day_of(utc: float) -> str:
    """Return the day of s since 1970 as the calendar of this place has it."""
    return time.strftime("%a %d %b %Y", time.localtime(utc))


def with_subscripts(text: str) -> Markup:
    """Return a text with the subscripts of R_P and R_AP.

    >>> with_subscripts("R_AP < 5")
    Markup('R<sub>AP</sub> &lt; 5')
    """
    return Markup(re.sub(r"\bR_(A?P)\b", r"R<sub>\1</sub>", str(escape(text))))


_FILTERS: dict[str, Any] = {
    "clock": clock,
    "day": day_of,
    "day_if_other": lambda utc, other: "" if day_of(utc) == day_of(other) else f"{day_of(utc)} ",
    "duration": duration,
    "times": lambda n: "once" if n == 1 else f"{n} times",
    "first_line": lambda text: text.splitlines()[0] if text else "",
    "capitalise": lambda text: text[:1].upper() + text[1:],
    "link": lambda name: Markup(f'<a href="#die-{escape(name)}">{escape(name)}</a>'),
    "sub": with_subscripts,
    "percent": lambda value, digits: "" if value is None else f"{100 * value:.{digits}f}",
    "size": lambda number: decimal(int(number)),
}
