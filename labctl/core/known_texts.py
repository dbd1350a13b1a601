"""What a text file seems to be, by the form of its lines, once no reader has understood it.

Every form is one that most lines of the text have, so that a slip in a file of ours never makes it a file of another
kind: what is mostly `key: value` is YAML, whatever else is in it.
"""

import configparser
import csv
import io
import json
import re
import tomllib
from collections.abc import Callable, Sequence
from itertools import pairwise

_HEAD = 400
"""Lines that are judged."""
_LONGEST = 1 << 18
"""Characters that are judged."""
_WIDEST = 400
"""Characters of a line that are judged."""
_KEY = re.compile(r"[\"']?[\w.<*-][\w .<*/-]{0,80}[\"']?\s*:(\s.*)?|-\s+\S.*:(\s.*)?|-\s.*|[\]}],?|---|\.\.\.")
_ASSIGNMENT = re.compile(r"(export\s+)?[\"']?[A-Za-z_][\w .\-\[\]]{0,80}[\"']?\s*=\s*.*")
_SECTION = re.compile(r"\[{1,2}[^\[\]]{1,120}\]{1,2}\s*([#;].*)?")
_MARKDOWN = re.compile(
    r"^(```|~~~|[-*+] +\S|\d+\. +\S|> |\|.*\||\|?[ :]*-{3,}[ :|-]*$|!\[)"
    r"|\[[^\]\n]{1,100}\]\([^)\n]{1,200}\)|\*\*\S|`[^`\n]+`"
)
_PYTHON = re.compile(
    r"(from [\w.]+ import .+|import [\w., ]+|(async )?def \w+\(.*|class \w+.*:|@\w[\w.]*.*|if __name__ == .*)"
)
_LOG = re.compile(r"\[?\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2})?\S*\]?\s+\S.*")
_WORD = re.compile(r"[^\W\d_]{2,}")
YAML = "a YAML file"
_TOML, _INI_TOO = "a TOML file", "a TOML or INI file"
_SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "'|'", " ": "blanks"}
_CELL = re.compile(r"[+-]?[\d.,]+(e[+-]?\d+)?%?|[^\W\d]{1,2}|[.*#_-]|0x[0-9a-f]+|nan", re.IGNORECASE)


def by_form(text: str) -> str:
    """Return what a text is by the form of its lines, with its article; "" if they have none that is known.

    >>> by_form("[tool.black]\\nline-length = 120\\ntarget = ['py311']"), by_form("[bench]\\nport = /dev/ttyS0\\n")
    ('a TOML file', 'an INI file')
    >>> by_form("# Wafer 7\\n\\nWe measured it on **Monday**.\\n"), by_form("# a note\\nname: W7\\nmap: [X\\n")
    ('a Markdown text', 'a YAML file')
    """
    text = text[:_LONGEST].lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    lines = [line[:_WIDEST].rstrip() for line in text.split("\n", _HEAD)[:_HEAD]]
    content = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not [line for line in lines if line.strip()]:
        return ""
    for is_form, what in _FORMS:
        if is_form(text, lines, content):
            return _INI_TOO if what == _TOML and _is_plain_ini(text, lines, content) else what
    return _table(content) or (_WORDS if _is_prose(text, lines, content) else "")


def _share(lines: Sequence[str], form: re.Pattern[str]) -> float:
    return sum(form.fullmatch(line.strip()) is not None for line in lines) / len(lines) if lines else 0.0


def _json_lines(text: str, lines: Sequence[str], content: Sequence[str]) -> bool:
    return len(content) > 1 and all(_is_json(line) for line in content[:20])


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict | list)
    except (ValueError, RecursionError):
        return False


def _is_python(text: str, lines: Sequence[str], content: Sequence[str]) -> bool:
    return sum(_PYTHON.fullmatch(line) is not None for line in content) >= max(1, len(content) // 20) and bool(
        re.search(r"^(from [\w.]+ )?import \w|^(async )?def \w+\(|^class \w+", text, re.MULTILINE)
    )


def _is_toml(text: str, lines: Sequence[str], content: Sequence[str]) -> bool:
    if "=" not in text and not _share(content, _SECTION):
        return False
    try:
        return bool(tomllib.loads(text))
    except (ValueError, RecursionError):  # that of tomllib is one
        return False


def _is_ini(text: str, lines: Sequence[str], content: Sequence[str]) -> bool:
    content = [line for line in content if not line.lstrip().startswith(";")]
    if not content or not _SECTION.fullmatch(content[0].strip()):
        return False
    try:
        parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
        parser.read_string("\n".join(lines))
    except configparser.Error:
        return _share(content, _SECTION) + _share(content, _ASSIGNMENT) > 0.9
    return len(parser.sections()) > 0 and sum(len(parser.options(name)) for name in parser.sections()) > 0


def _is_plain_ini(text: str, lines: Sequence[str], content: Sequence[str]) -> bool:
    """Return whether a TOML could be an INI as well: no value is in quotes or brackets."""
    values = [line.partition("=")[2].strip() for line in content if "=" in line]
    return _is_ini(text, lines, content) and not any(value[:1] in "\"'[{" for value in values)


def _is_assignments(text: str, lines: Sequence[str], content: Sequence[str]) -> bool:
    return _share(content, _ASSIGNMENT) > 0.9


def _is_yaml(text: str, lines: Sequence[str], content: Sequence[str]) -> bool:
    keys = [line for line in content if re.match(r"[\"']?[A-Za-z_][\w.-]{0,60}[\"']?:(\s|$)", line)]
    return len(keys) > 0 and _share(content, _KEY) > 0.5


def _is_log(text: str, lines: Sequence[str], content: Sequence[str]) -> bool:
    return len(content) > 1 and _share(content, _LOG) > 0.6


def _table(content: Sequence[str]) -> str:
    """Return what separates the cells of a table, in words; "" if lines are no table."""
    if len(content) < 2:
        return ""
    for separator, name in _SEPARATORS.items():
        if separator == " ":
            rows = [line.split() for line in content]
            if any(not _CELL.fullmatch(cell) for row in rows[1:] for cell in row):
                continue
        else:
            try:
                rows = list(csv.reader(io.StringIO("\n".join(content)), delimiter=separator))
            except csv.Error:
                continue
        if len({len(row) for row in rows[:-1]}) == 1 and len(rows[0]) > 1 and len(rows[-1]) > 1:
            return f"a table with {name} between its cells{'' if separator in '| ' else ' (CSV)'}"
    return ""


def _is_markdown(text: str, lines: Sequence[str], content: Sequence[str]) -> bool:
    headings = sum(re.match(r"#{1,6} +\S", line) is not None for line in lines)
    underlined = sum(
        re.fullmatch(r"={3,}|-{3,}", line) is not None and bool(above.strip()) for above, line in pairwise(lines)
    )
    marks = sum(_MARKDOWN.search(line) is not None for line in content)
    if any(re.fullmatch(r"\|?[ :-]*-{3,}[ :|-]*", line) and "|" in line for line in content):  # of a table
        return True
    return (headings + underlined > 0 and (marks > 0 or _is_prose(text, lines, content))) or marks > 3


def _is_prose(text: str, lines: Sequence[str], content: Sequence[str]) -> bool:
    words = sum(len(_WORD.findall(line)) for line in content)
    return words >= max(8, 3 * len(content)) and not any("=" in line for line in content)


_FORMS: tuple[tuple[Callable[[str, Sequence[str], Sequence[str]], bool], str], ...] = (
    (_json_lines, "a file of JSON lines"),
    (_is_toml, _TOML),
    (_is_ini, "an INI file"),
    (_is_python, "a Python program"),
    (_is_yaml, YAML),
    (_is_assignments, "a file of settings (key = value)"),
    (_is_log, "a log"),
    (_is_markdown, "a Markdown text"),
)
_WORDS = "a text in words"
