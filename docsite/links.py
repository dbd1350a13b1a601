"""Links of the documents: on a forge they lead to files of the tree, on the site to the pages made of these."""

import posixpath
import re
import unicodedata
from collections.abc import Mapping

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
_FENCE = re.compile(r"(^ *(`{3,}).*?^ *\2`*$)", re.S | re.M)

PAGES: Mapping[str, str] = {
    "README.md": "project/readme.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "labctl/data/README.md": "project/data.md",
}
"""Documents of the tree outside of ``docs``, and the pages that they become."""
EXAMPLES = "reference/examples.md"
"""The page with all examples."""


def slug(text: str, separator: str = "-") -> str:
    """Return the anchor of a heading, as forges make it, so that a link with an anchor leads to it in both places.

    >>> slug("8. A board, before its `chip` is on it")
    '8-a-board-before-its-chip-is-on-it'
    """
    plain = unicodedata.normalize("NFC", re.sub(r"<[^>]+>", "", text)).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", separator)


def for_site(text: str, file: str, page: str) -> str:
    """Return the Markdown of a document with links as the site needs them; a link to a file that is no page is none.

    Args:
        file: the document in the tree, such as ``docs/bench.md``.
        page: the page that it becomes, from the folder ``docs``.
    """

    def retarget(match: re.Match[str]) -> str:
        picture, words, target = match.groups()
        if re.match(r"[a-z]+:|#|/", target):
            return match[0]
        path, _, anchor = target.partition("#")
        there = page_of(posixpath.normpath(posixpath.join(posixpath.dirname(file), path)))
        if there is None:
            return match[0] if picture else words
        where, own_anchor = there
        anchor = own_anchor or anchor
        relative = posixpath.relpath(where, posixpath.dirname(page) or ".")
        return f"{picture}[{words}]({relative}{'#' if anchor else ''}{anchor})"

    parts = _FENCE.split(text)
    return "".join(
        LINK.sub(retarget, part) if k % 3 == 0 else part if k % 3 == 1 else "" for k, part in enumerate(parts)
    )


def page_of(file: str) -> tuple[str, str] | None:
    """Return the page of a file of the tree, and the anchor on it; None if it has none.

    >>> page_of("examples/dies/ideal-1x1.yaml"), page_of("docs/decisions"), page_of("tests/conftest.py")
    (('reference/examples.md', 'diesideal-1x1yaml'), ('decisions/README.md', ''), None)
    """
    if file in PAGES:
        return PAGES[file], ""
    if file.startswith("docs/"):
        inside = file.removeprefix("docs/")
        return (inside if posixpath.splitext(inside)[1] else f"{inside}/README.md"), ""
    if file == "examples" or file.startswith("examples/"):
        return EXAMPLES, slug(file.removeprefix("examples").removeprefix("/"))
    return None


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings of a document; of equal ones the second has -1 behind it, and so on."""
    made: list[str] = []
    for heading in re.findall(r"(?m)^#+ +(.+?) *#*$", _FENCE.sub("", text)):
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        made.append(slug(plain))
    return {f"{name}-{made[:k].count(name)}" if name in made[:k] else name for k, name in enumerate(made)}
