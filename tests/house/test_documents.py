"""Documents lead somewhere: their links, and the files and modules that they name."""

import re
from pathlib import Path

import pytest

import labctl
from labctl.core.plugins import GROUPS

ROOT = Path(__file__).parents[2]
PACKAGES = "labctl|instruments|protocols|sim_backend"
DOCUMENTS = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_document_names_exists(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.S)
    missing = [link for link in re.findall(r"\]\(([^)#:\s]+)\)", text) if not (document.parent / link).exists()]
    named = re.findall(rf"`((?:{PACKAGES}|tests|docs|examples|benchmarks)/[^`\s]*)`", text)
    missing += [path for path in named if not (ROOT / path.partition("::")[0]).exists()]
    missing += [name for name in re.findall(rf"`((?:{PACKAGES})\.[\w.]+)`", text) if not names_something(name)]
    assert not missing


def names_something(dotted: str) -> bool:
    """Return whether a dotted name is a package, a module, or has a last word that its module or package defines."""
    if dotted in {f"labctl.{name}" for name in labctl.__all__}:  # names of the package are loaded at their first use
        return True
    if (ROOT / dotted.replace(".", "/")).is_dir() or (ROOT / f"{dotted.replace('.', '/')}.py").is_file():
        return True
    if dotted in GROUPS:
        return True
    above, _, name = dotted.rpartition(".")
    place = ROOT / above.replace(".", "/")
    files = [place.with_suffix(".py"), place / "__init__.py"]
    pattern = rf"^(class|def) {name}\b|^{name}\b|\bas {name}\b"
    return any(file.is_file() and re.search(pattern, file.read_text(encoding="utf-8"), re.M) for file in files)
