"""The site: every document is in its navigation, anchors lead to headings, what is generated can be generated.

`.ci/run` builds it, with its executed pages; what is here needs no builder.
"""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from docsite import links, notebook
from docsite.generated import GENERATED, MARK

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CONFIGURATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
TEXTS = {f"docs/{page}": (DOCS / page).read_text(encoding="utf-8") for page in PAGES}
TEXTS |= {file: (ROOT / file).read_text(encoding="utf-8") for file in links.PAGES}


def navigated(node: Any) -> list[str]:
    """Return the pages of a navigation, in order."""
    if isinstance(node, str):
        return [node]
    return [page for one in (node.values() if isinstance(node, dict) else node) for page in navigated(one)]


def test_every_document_is_in_the_navigation_once() -> None:
    named = navigated(yaml.safe_load(CONFIGURATION)["nav"])
    assert len(named) == len(set(named))
    listed = {page for page in PAGES if re.match(r"decisions/\d", page)}  # on a page of their own
    assert set(named) | listed == {*PAGES, *links.PAGES.values()}, "a document is missing in mkdocs.yml, or too much"


@pytest.mark.parametrize("file", sorted(TEXTS))
def test_a_link_with_an_anchor_leads_to_a_heading(file: str) -> None:
    text = re.sub(r"```.*?```", "", TEXTS[file], flags=re.S)
    for _, _, target in links.LINK.findall(text):
        path, _, anchor = target.partition("#")
        there = (Path(file).parent / path).as_posix() if path else file
        if anchor and ":" not in target:
            normal = (ROOT / there).resolve().relative_to(ROOT).as_posix()
            assert anchor in links.anchors(TEXTS[normal]), target


def test_every_mark_is_known_and_everything_that_is_generated_is_asked_for() -> None:
    marks = {name for text in TEXTS.values() for name in MARK.findall(text)}
    assert marks == set(GENERATED)


@pytest.mark.parametrize("name", GENERATED)
def test_what_is_generated_is_text_whose_tables_are_whole(name: str) -> None:
    text = GENERATED[name]()
    assert len(text) > 200
    lines = re.sub(r"`{3,}.*?`{3,}", "", text, flags=re.S).splitlines()
    for above, below in pairwise(lines):
        if above.startswith("|") and below.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", above)) == len(re.findall(r"(?<!\\)\|", below)), below


def test_the_pages_that_are_carried_out_have_blocks_of_every_kind() -> None:
    pages = {file: list(notebook.split(text)) for file, text in TEXTS.items() if notebook.EXECUTED in text}
    assert len(pages) >= 4
    assert {block.kind for blocks in pages.values() for block in blocks} == {"", "file", "run", "python"}


def test_pictures_are_small_and_the_readme_shows_them() -> None:
    pictures = list((DOCS / "pictures").iterdir())
    assert {path.name for path in pictures} == {"report.png", "watch.png"}
    for path in pictures:
        assert path.stat().st_size < 150_000
        assert f"(docs/pictures/{path.name})" in TEXTS["README.md"].partition("<!-- run -->")[0]


def test_nothing_is_loaded_from_elsewhere_by_the_configuration() -> None:
    configuration = yaml.safe_load(CONFIGURATION)
    assert configuration["theme"]["font"] is False
    assert not re.search(r"https?:", re.sub(r"#.*", "", CONFIGURATION))
