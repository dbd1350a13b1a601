"""The builder's hooks refuse a site that loads anything from elsewhere."""

from pathlib import Path

import pytest

pytest.importorskip("mkdocs")

from mkdocs.exceptions import PluginError

from docsite import hooks


@pytest.mark.parametrize(
    ("name", "text", "loads"),
    [
        ("a.html", '<script src="https://cdn.example.org/x.js"></script>', "https://cdn.example.org/x.js"),
        ("a.html", '<link rel="stylesheet" href="//fonts.example.org/x.css">', "//fonts.example.org/x.css"),
        ("a.css", "@font-face { src: url(https://fonts.example.org/x) }", "https://fonts.example.org/x"),
        ("a.html", '<a href="https://example.org/">a link</a><img src="here.png">', ""),
    ],
)
def test_what_comes_from_elsewhere_is_refused(tmp_path: Path, name: str, text: str, loads: str) -> None:
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "search_index.json").write_text('{"docs": [1]}')
    (tmp_path / name).write_text(text)
    if not loads:
        hooks.on_post_build({"site_dir": tmp_path})
        return
    with pytest.raises(PluginError, match=f"{name} loads {loads}"):
        hooks.on_post_build({"site_dir": tmp_path})
