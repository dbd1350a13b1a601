"""Filters in words: ``tmr < 90 % and after 2026-10-01 and not (bin = good or wafer = W0*)``.

Figures are compared with quantities in their unit, numbers with numbers, texts with ``=`` and ``!=`` and a pattern of
``*`` and ``?``; ``after`` and ``before`` take a date, which begins at midnight here, or a date and time. A row without
the figure is in no comparison of it, and so in ``not`` of each. ``r_p[60 nm]`` is the figure of that size.
"""

import re
from collections.abc import Callable
from datetime import datetime
from difflib import get_close_matches
from fnmatch import translate
from typing import Any

import numpy as np
import numpy.typing as npt

from labctl.core.errors import BenchError
from labctl.core.figure import split_name
from labctl.core.units import parse_quantity
from labctl.fleet.columns import COLUMNS, NUMBER, TEXT, TIME, WHOLE, YES, column_of
from labctl.fleet.store import Fleet, plain_array

Mask = npt.NDArray[np.bool_]
_TOKEN = re.compile(r"""\s*(?:(?P<sign>[()])|(?P<word>(?:"[^"]*"|'[^']*'|\[[^\[\]]*\]|[^\s()])+))""")
_COMPARISON = re.compile(r"""([A-Za-z_][A-Za-z0-9_]*(?:\[[^\[\]]+\])?)\s*(<=|>=|!=|==|<|>|=)\s*(.*)""", re.S)
_JOINS = ("and", "or", "not")
_JOINED = re.compile(r"[,;&|<>=!]|\s+\S+")
"""In a text that is not quoted: a second word, or what joins comparisons elsewhere."""
_DEEPEST, _LONGEST = 50, 2000
"""Brackets in brackets, and characters, of a filter."""
_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "=": np.equal, "!=": np.not_equal
}  # fmt: skip


def rows_where(fleet: Fleet, words: str) -> Mask:
    """Return which of the n rows of a fleet a filter is true of, (n,) bool; all of them without words.

    Raises:
        BenchError: the words are no filter; the message says what was found and what was expected.
    """
    if not words.strip():
        return np.ones(fleet.table.num_rows, bool)
    if len(words) > _LONGEST or words.count("(") > _DEEPEST or words.count("not") > _DEEPEST:
        raise BenchError(f"a filter of {len(words)} characters; expected at most {_LONGEST}, and {_DEEPEST} brackets")
    return _Parser(fleet, words).whole()


def names_in(words: str) -> list[str]:
    """Return the names of columns and figures that a filter compares, in order."""
    joined = re.split(r"[()]|\s(?:and|or)\s|(?:^|\s)not\s", f" {words} ")
    matches = (_COMPARISON.fullmatch(part.strip()) for part in joined)
    return list(dict.fromkeys(split_name(match[1])[0] for match in matches if match))


class _Parser:
    """A recursive descent: or of and of not of comparisons and brackets."""

    def __init__(self, fleet: Fleet, words: str) -> None:
        self._fleet, self._words = fleet, words
        self._tokens = [match["sign"] or match["word"] for match in _TOKEN.finditer(words)]
        self._at = 0

    def whole(self) -> Mask:
        mask = self._either()
        if self._at < len(self._tokens):
            raise self._refused(f"found '{self._tokens[self._at]}', expected 'and', 'or' or the end")
        return mask

    def _either(self) -> Mask:
        mask = self._both()
        while self._take("or"):
            mask = mask | self._both()
        return mask

    def _both(self) -> Mask:
        mask = self._one()
        while self._take("and"):
            mask = mask & self._one()
        return mask

    def _one(self) -> Mask:
        if self._take("not"):
            return ~self._one()
        if self._take("("):
            mask = self._either()
            if not self._take(")"):
                raise self._refused("a bracket is not closed, expected ')'")
            return mask
        words: list[str] = []
        while self._at < len(self._tokens) and self._tokens[self._at] not in (*_JOINS, "(", ")"):
            words.append(self._tokens[self._at])
            self._at += 1
        return self._comparison(" ".join(words))

    def _take(self, token: str) -> bool:
        there = self._at < len(self._tokens) and self._tokens[self._at] == token
        self._at += there
        return there

    def _refused(self, text: str) -> BenchError:
        return BenchError(f"'{self._words}': {text}; see: labctl fleet query --help")

    def _comparison(self, text: str) -> Mask:
        first, _, rest = text.partition(" ")
        if first in ("after", "before") and rest:
            return self._ordered("finished", ">=" if first == "after" else "<", self._moment(rest))
        match = _COMPARISON.fullmatch(text)
        if match is None or not match[3]:
            there = f"found '{text}'" if text else "it ends"
            raise self._refused(f"{there}, expected a comparison such as 'tmr < 90 %' or 'after 2026-10-01'")
        name, sign, value = match[1], "=" if match[2] == "==" else match[2], match[3].strip()
        quoted = False
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
            quoted = True
        key, size = split_name(name)
        kind = COLUMNS[key][0] if key in COLUMNS and not size else NUMBER
        if kind == TEXT:
            if not quoted and (joined := _JOINED.search(value)):
                raise self._refused(
                    f"'{value}' has '{joined[0]}' in it; expected 'and', 'or' or 'not' in small letters between "
                    "comparisons, or a text in quotation marks"
                )
            return self._matching(key, sign, value)
        if kind == TIME:
            return self._ordered(key, sign, self._moment(value))
        if kind == YES:
            if sign not in ("=", "!=") or value not in ("yes", "no"):
                raise self._refused(f"found '{text}', expected '{key} = yes' or '{key} = no'")
            yes: Mask = np.asarray(self._column(key), bool)
            return yes if (value == "yes") == (sign == "=") else ~yes
        if kind == WHOLE:
            if not re.fullmatch(r"[+-]?\d{1,18}", value):
                raise self._refused(f"'{value}' is no whole number, as {key} is")
            return self._ordered(key, sign, int(value))
        mask = self._figure(key, sign, value)
        if not size:
            return mask
        if size not in (sizes := set(self._fleet.table["size"].to_pylist())):
            has = f"it has {', '.join(sorted(sizes - {''}))}" if sizes - {""} else "all its dies have one size each"
            raise self._refused(f"there is no size '{size}' in this fleet; {has}")
        return mask & self._matching("size", "=", size)

    def _figure(self, key: str, sign: str, value: str) -> Mask:
        column = column_of(key) if column_of(key) in self._fleet.figure_columns else key
        if column not in self._fleet.figure_columns:
            names = [*COLUMNS, *self._fleet.figure_columns]
            near = get_close_matches(key, names, 1, 0.6)
            hint = f"; did you mean '{near[0]}'?" if near else f"; expected one of {', '.join(names)}"
            raise self._refused(f"there is no column and no figure '{key}'{hint}")
        figure = self._fleet.figure(column)
        try:
            limit = parse_quantity(value, figure.unit)
        except ValueError as error:
            raise self._refused(str(error)) from error
        if figure.in_percent and not value.endswith("%"):
            shown = figure.shown_unit
            raise self._refused(f"'{value}' has no unit, and {figure.title} is shown in {shown}; expected '{value} %'")
        return self._ordered(column, sign, limit)

    def _ordered(self, column: str, sign: str, limit: Any) -> Mask:
        values = self._column(column)
        there: Mask = ~np.isnat(values) if values.dtype.kind == "M" else np.isfinite(values.astype(float))
        with np.errstate(invalid="ignore"):
            mask: Mask = np.asarray(_ORDER[sign](values, limit), bool)
        return mask & there

    def _matching(self, column: str, sign: str, pattern: str) -> Mask:
        if sign not in ("=", "!="):
            raise self._refused(f"{column} is a text; expected '{column} = {pattern}' or '{column} != {pattern}'")
        matches = re.compile(translate(pattern)).match
        texts = self._fleet.table[column].combine_chunks().dictionary_encode(null_encoding="encode")
        of_text = np.array([matches(text or "") is not None for text in texts.dictionary.to_pylist()], bool)
        mask: Mask = np.take(of_text, plain_array(texts.indices))
        return mask if sign == "=" else ~mask

    def _column(self, name: str) -> npt.NDArray[Any]:
        return plain_array(self._fleet.table[name])

    def _moment(self, text: str) -> np.datetime64:
        try:
            moment = datetime.fromisoformat(text.strip().strip("\"'"))
            stamp = moment.astimezone().timestamp()
        except (ValueError, OverflowError, OSError) as error:
            raise self._refused(
                f"'{text}' is no date; expected one such as 2026-10-01, or '2026-10-01T18:00'"
            ) from error
        return np.datetime64(round(stamp * 1000), "ms")
