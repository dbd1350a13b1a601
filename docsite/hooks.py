"""What the builder of the site calls (``hooks`` of mkdocs.yml): pages made from the code, links, executed pages.

A document that wants something generated has a mark, ``<!-- generated: NAME -->``, and reads well without it.
"""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # the builder is started from anywhere
    sys.path.insert(0, str(ROOT))

from docsite import links, notebook  # noqa: E402
from docsite.generated import GENERATED, MARK  # noqa: E402

_FILES: dict[str, str] = {page: file for file, page in links.PAGES.items()}
_notebooks: dict[str, str] = {}


def on_config(config: Any) -> Any:
    """Make anchors as forges make them."""
    config["mdx_configs"].setdefault("toc", {})["slugify"] = links.slug
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the documents that are outside of ``docs``."""
    for file, page in links.PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / file).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Carry out what is to be carried out, put in what is generated, and lead links to pages."""
    uri = page.file.src_uri
    if notebook.EXECUTED in markdown:
        try:
            blocks = notebook.execute(markdown, uri)
        except notebook.PageError as error:
            raise PluginError(str(error)) from error
        _notebooks[page.file.dest_uri] = notebook.as_notebook(blocks)
        name = f"{Path(uri).stem}.ipynb"
        note = f'Carried out when this page was built. <a href="{name}" download>As a notebook</a>'
        markdown = notebook.as_markdown(blocks).replace(notebook.EXECUTED, f'<p class="notebook">{note}</p>')
    markdown = links.for_site(markdown, _FILES.get(uri, f"docs/{uri}"), uri)
    return MARK.sub(lambda match: _generated(match[1], uri), markdown)


def _generated(name: str, uri: str) -> str:
    if name not in GENERATED:
        raise PluginError(f"{uri}: nothing is generated as '{name}'; expected one of {', '.join(GENERATED)}")
    return GENERATED[name]()


class _Loads(HTMLParser):
    """Collects what a page loads from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.elsewhere: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an address that a browser would ask without a click."""
        values = dict(attrs)
        address = values.get("src") or (values.get("href") if tag == "link" else None) or ""
        if re.match(r"(https?:)?//", address) and values.get("rel") != "canonical":
            self.elsewhere.append(address)


def on_post_build(config: Any) -> None:
    """Write the notebooks, and refuse a site that loads anything from elsewhere."""
    site = Path(config["site_dir"])
    for page, text in _notebooks.items():
        (site / page).with_suffix(".ipynb").write_text(text, encoding="utf-8")
    for path in site.rglob("*.html"):
        loads = _Loads()
        loads.feed(path.read_text(encoding="utf-8"))
        if loads.elsewhere:
            raise PluginError(f"{path.relative_to(site)} loads {loads.elsewhere[0]}; expected nothing from elsewhere")
    for path in site.rglob("*.css"):
        if address := re.search(r"url\(\s*[\"']?((https?:)?//[^)\"']*)", path.read_text(encoding="utf-8")):
            raise PluginError(f"{path.relative_to(site)} loads {address[1]}; expected nothing from elsewhere")
    if not json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]:
        raise PluginError("the search index is empty")
