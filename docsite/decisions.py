"""The list of the decisions: number and title of each, by area."""

import re
from pathlib import Path


def render(folder: Path) -> str:
    """Return a list with a link to every decision in a folder, in the order of their numbers."""
    lines = []
    for path in sorted(folder.glob("[0-9]*.md")):
        title = path.read_text(encoding="utf-8").partition("\n")[0]
        match = re.fullmatch(r"# (\d+):? (.*)", title)
        if match is None:
            raise ValueError(f"{path}: '{title}' is no title; expected '# {path.name[:3]} Title'")
        lines.append(f"* **{match[1]}** [{match[2]}]({path.name})")
    return "\n".join(lines)
