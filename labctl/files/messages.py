"""Errors of pydantic as messages in operator words, with the line in the file.

pydantic names the place by its own path, in which the branches of a union stand between the keys, and says
what it expects in words of programming. Here both become the keys and words of the file.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

from labctl.core.units import parse_quantity
from labctl.files.tree import Node, Path_, Problem

_TYPES: dict[str, str] = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "string": "a text",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "dict": "a mapping (key: value)",
    "model": "a mapping (key: value)",
    "model_attributes": "a mapping (key: value)",
    "dataclass": "a mapping (key: value)",
    "path": "a path",
    "none_required": "nothing",
}
_BOUNDS: dict[str, tuple[str, str]] = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
    "multiple_of": ("multiple_of", "a multiple of"),
}
_PREFIXED = frozenset({"V", "A", "s", "m", "ohm", "S", "Hz"})
_PREFIXES = ((1e-9, "n"), (1e-6, "u"), (1e-3, "m"), (1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"))
_SIZES: dict[str, tuple[str, str]] = {
    "too_short": ("min_length", "at least {} entries"),
    "too_long": ("max_length", "at most {} entries"),
    "string_too_short": ("min_length", "at least {} characters"),
    "string_too_long": ("max_length", "at most {} characters"),
}


_LONGEST = 60
"""Characters of a value that are said again as it is to be written."""


def locate(root: Node, loc: Sequence[str | int]) -> Path_:
    """Return the path in the tree that pydantic's `loc` names, its union branches left out.

    A branch may have the name of a key (`survey` of kind survey); of two readings the deeper one is right.
    """
    known: dict[tuple[int, int], Path_] = {}  # both readings of every part: without it, 2 to the power of their number

    def from_part(node: Node, n: int) -> Path_:
        if n == len(loc):
            return ()
        if (id(node), n) not in known:
            skipped, below = from_part(node, n + 1), node.child(loc[n])
            if below is not None:
                step = str(loc[n]) if isinstance(node.value, dict) else int(loc[n])
                deeper = (step, *from_part(below, n + 1))
                skipped = skipped if len(skipped) > len(deeper) else deeper
            known[id(node), n] = skipped
        return known[id(node), n]

    return from_part(root, 0)


def explain(root: Node, errors: Sequence[ErrorDetails], schema: Mapping[str, Any]) -> list[Problem]:
    """Return the `errors` of pydantic as problems, in the order of the file."""
    by_path: dict[Path_, list[tuple[str, str]]] = {}
    for error in errors:
        path, kind, text = _one(root, error, schema)
        entry = by_path.setdefault(path, [])
        if (kind, text) not in entry:
            entry.append((kind, text))
    problems: list[Problem] = []
    for path, entries in by_path.items():
        node = root.at(path)
        expected = [text for kind, text in entries if kind == "expected"]
        if any(len(other) > len(path) and other[: len(path)] == path for other in by_path):
            expected = []  # one branch of a union accepted the container: only what is inside it is wrong
        if expected:
            problems.append(Problem(node.where, path, f"found {shown(node)}, expected {' or '.join(expected)}"))
        problems += [Problem(_nearest(node, text), path, text) for kind, text in entries if kind != "expected"]
    order = {path: n for n, (path, _) in enumerate(root.walk())}
    return sorted(problems, key=lambda p: order.get(p.path, order.get(p.path[:-1], 0)))


def _nearest(node: Node, text: str) -> str:
    """Return where a message about a mapping as a whole is best looked up: at the first key in it that is there."""
    if not isinstance(node.value, dict) or text.startswith(("the key ", "found the unknown key ")):
        return node.where
    keys: dict[str, Node] = {}
    for path, below in node.walk():
        if path and isinstance(path[-1], str):
            keys.setdefault(path[-1], below)
    named = (keys[word] for word in re.findall(r"[A-Za-z_]\w*", text) if word in keys)
    return next(named, node).where


def shown(node: Node) -> str:
    """Return the value of a node as a person would name it."""
    if node.value is None:
        return f"nothing ({node.raw})" if node.raw else "nothing"
    if isinstance(node.value, list):
        return f"a list of {len(node.value)}" if node.value else "an empty list"
    if isinstance(node.value, dict):
        return f"the keys {_some(node.value)}" if node.value else "an empty mapping"
    raw = node.raw.strip().replace("\n", "\\n")
    raw = raw if len(raw) <= 60 else f"{raw[:57]}..."
    return f"'{raw}'" if isinstance(node.value, str) else raw


def unknown_key(key: str, known: Sequence[str]) -> str:
    """Return the message for an unknown key, with the nearest known one or all of them."""
    near = get_close_matches(key, known, 1, 0.6) or get_close_matches(key.lower(), known, 1, 0.6)
    if near:
        return f"found the unknown key '{key}'; did you mean '{near[0]}'?"
    return f"found the unknown key '{key}', expected " + (f"one of {_some(known)}" if known else "no key here")


def _one(root: Node, error: ErrorDetails, schema: Mapping[str, Any]) -> tuple[Path_, str, str]:
    kind, ctx, loc = error["type"], error.get("ctx", {}), error["loc"]
    if kind == "missing":
        path = locate(root, loc[:-1])
        inside = next(schemas_at(schema, root, (*path, loc[-1])), {})
        if isinstance(root.at(path).value, list):
            found = f"found {shown(root.at(path))}, expected {int(loc[-1]) + 1} entries"
            return path, "other", found + (_wanted(inside) or _wanted(next(schemas_at(schema, root, path), {})))
        return path, "other", f"the key '{loc[-1]}' is missing{_wanted(inside)}"
    path = locate(root, loc)
    if kind == "extra_forbidden":
        more = next((s["x-more"] for s in schemas_at(schema, root, path[:-1]) if "x-more" in s), "")
        text = unknown_key(str(path[-1]), known_keys(schema, root, path[:-1]))
        return path, "other", text if text.endswith("?") else text + more
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        key = str(ctx["discriminator"]).strip("'")
        tags = (
            [tag.strip(" '") for tag in str(ctx.get("expected_tags", "")).split(", ")] if "expected_tags" in ctx else []
        )
        if kind == "union_tag_not_found":
            tags = _tags(schema, root, path)
            return (
                path,
                "other",
                f"the key '{key}' is missing" + (f", expected one of {_some(tags)}" if tags else ""),
            )
        near = get_close_matches(str(ctx["tag"]), tags, 1, 0.6)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        return (*path, key), "other", f"found '{ctx['tag']}', expected one of {_some(tags)}{hint}"
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        bound, value, unit = ctx[name], root.at(path).value, _unit(schema, root, path)
        percent = unit == "" and kind.startswith("less_than") and isinstance(value, int | float)
        hint = f"; did you mean {value:g} %?" if percent and bound < value <= 100 * bound else ""
        return path, "expected", f"{words} {_quantity(bound, unit)}{hint}"
    if kind in _SIZES:
        name, words = _SIZES[kind]
        number = words.format(ctx[name])
        return path, "expected", re.sub(r"\b1 entries", "1 entry", number).replace(" 1 characters", " 1 character")
    if kind == "string_pattern_mismatch":
        words = next((str(s["x-form"]) for s in schemas_at(schema, root, path) if "x-form" in s), "")
        return path, "expected", words or f"a text of the form {ctx['pattern']}"
    if kind.startswith("date_"):
        return path, "expected", "a date such as 2027-03-31"
    if kind == "finite_number":
        return path, "expected", "a finite number"
    base = kind.removesuffix("_size").removesuffix("_type").removesuffix("_parsing").removesuffix("_from_float")
    if base == "float":
        inside = next((s for s in schemas_at(schema, root, path) if s.get("examples")), {})
        if inside:
            return path, "expected", f"a quantity such as {inside['examples'][0]}"
    if base in _TYPES:
        return path, "expected", _TYPES[base] + _written(root.at(path), _TYPES[base], schema, root, path)
    if kind in ("literal_error", "enum"):
        value = root.at(path).value
        wanted = str(ctx["expected"])
        names = wanted.replace(" or ", ", ").replace("'", "").split(", ")
        near = get_close_matches(value, names, 1, 0.6) if isinstance(value, str) else []
        return path, "expected", wanted + (f"; did you mean '{near[0]}'?" if near else "")
    message = error["msg"]
    if message.startswith("Input should be "):
        return path, "expected", message.removeprefix("Input should be ")
    text = str(ctx["error"]) if kind in ("value_error", "assertion_error") and "error" in ctx else message
    node = root.at(path)
    named = re.search(rf"(?<![\w.]){re.escape(str(node.value))}(?![\w.])", text)
    if named or isinstance(node.value, dict | list):
        return path, "other", text
    return path, "other", f"found {shown(node)}: {text}"


def _written(node: Node, wanted: str, schema: Mapping[str, Any], root: Node, path: Path_) -> str:
    """Return how a value is written that has to be `wanted`, as far as what stands there is that value."""
    value = node.value
    match wanted:
        case "a list":
            about = next((str(s["description"]) for s in schemas_at(schema, root, path) if "description" in s), "")
            how = " in brackets, [..., ...]" if not isinstance(value, dict) else ", each entry behind '- '"
            return how + (f": {_first_sentence(about)}" if about else "")
        case "a mapping (key: value)":
            keys = known_keys(schema, root, path)
            return f" with {'the key' if len(keys) == 1 else 'keys such as'} {_some(keys[:4])}" if keys else ""
        case "a text" if form := next((str(s["x-form"]) for s in schemas_at(schema, root, path) if "x-form" in s), ""):
            quoted = isinstance(value, int | float) and node.raw in form.replace("one of ", "").split(", ")
            return f", '{node.raw}' in quotes" if quoted else f", {form}"
        case "a text" if isinstance(value, int | float) and not isinstance(value, bool) and len(node.raw) <= _LONGEST:
            return f", '{node.raw}' in quotes"
        case "a whole number" if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            return f", written {int(value)}"
    return ""


def _some(names: Sequence[str] | Mapping[str, Any]) -> str:
    listed = [f"'{name}'" for name in names]
    return ", ".join(listed[:12]) + (f" and {len(listed) - 12} more" if len(listed) > 12 else "")


def _wanted(schema: Mapping[str, Any]) -> str:
    about = _first_sentence(str(schema.get("description", "")))
    example = _allowed(schema, next((str(e) for e in schema.get("examples", ())), ""))
    if not about:
        return f", expected a text such as {example}" if example else ""
    return f": {about}" + (f" (written like '{example}')" if example and example not in about else "")


def _allowed(schema: Mapping[str, Any], example: str) -> str:
    """Return an example that a key could have: a small part of its largest value if `example` is far from that."""
    unit, most = str(schema.get("x-unit", "")), schema.get("x-maximum", schema.get("x-exclusiveMaximum"))
    if not (example and unit and isinstance(most, int | float) and most > 0):
        return example
    return example if 1e-3 < parse_quantity(example, unit) / most <= 1 else _quantity(most / 20, unit)


def _first_sentence(text: str) -> str:
    """Return what a key is in a few words, from its description.

    >>> _first_sentence("Limits of a die. An operation beyond them is refused.\\n\\nThe bounds are wide")
    'limits of a die'
    """
    line = re.split(r"\.\s|\n\s*\n", re.sub(r"^\[\?\]", "", text).strip(), maxsplit=1)[0]
    words = " ".join(line.split()).rstrip(".")
    return words[:1].lower() + words[1:] if words[1:2].islower() else words


def _unit(schema: Mapping[str, Any], root: Node, path: Path_) -> str | None:
    """Return the unit of a quantity, "" of a ratio, None of any other value."""
    units = (str(inside["x-unit"]) for inside in schemas_at(schema, root, path) if "x-unit" in inside)
    return next(units, None)


def _quantity(value: float, unit: str | None) -> str:
    """Return a bound as people write it: 1 nm, 50 V, 100 %, 10,000."""
    if unit == "":
        return f"{value * 100:.6g} %" if value <= 1 else f"{value:.6g}"
    if unit in _PREFIXED and value:
        for factor, prefix in _PREFIXES:
            if 1 <= abs(value) / factor * (1 + 1e-9) < 1000:
                return f"{value / factor:.6g} {prefix}{unit}"
    return f"{value:,}" if isinstance(value, int) else " ".join([f"{value:.6g}", *([unit] if unit else [])])


def known_keys(schema: Mapping[str, Any], root: Node, path: Path_) -> list[str]:
    """Return the keys that the mapping at `path` may have, as far as the JSON schema knows."""
    names = [name for inside in schemas_at(schema, root, path) for name in inside.get("properties", {})]
    return list(dict.fromkeys(names))


def _tags(schema: Mapping[str, Any], root: Node, path: Path_) -> list[str]:
    return [
        tag
        for inside in schemas_at(schema, root, path, lambda s: "discriminator" in s)
        for tag in inside["discriminator"].get("mapping", {})
    ]


def schemas_at(
    schema: Mapping[str, Any],
    root: Node,
    path: Path_,
    keep: Callable[[Mapping[str, Any]], bool] = lambda s: True,
) -> Iterator[Mapping[str, Any]]:
    """Yield the JSON schemas that govern the value at `path`, those of union branches that the file chose."""
    here: list[tuple[Mapping[str, Any], Node | None]] = [(schema, root)]
    for part in path:
        below: list[tuple[Mapping[str, Any], Node | None]] = []
        for branch_schema, node in here:
            for branch in _branches(schema, branch_schema, node):
                inside = _entry(branch, part)
                if inside:
                    below.append((inside, node.child(part) if node else None))
        here = below
    for branch_schema, node in here:
        yield from (s for s in _branches(schema, branch_schema, node) if keep(s))


def _branches(top: Mapping[str, Any], schema: Mapping[str, Any], node: Node | None) -> Iterator[Mapping[str, Any]]:
    if "$ref" in schema:
        target = top.get("$defs", {}).get(str(schema["$ref"]).rsplit("/", 1)[-1], {})
        yield from _branches(top, {**target, **{k: v for k, v in schema.items() if k != "$ref"}}, node)
        return
    yield schema
    chosen = schema.get("discriminator", {})
    tag = node.child(chosen["propertyName"]) if node and chosen else None
    if tag is not None and str(tag.value) in chosen.get("mapping", {}):
        yield from _branches(top, {"$ref": chosen["mapping"][str(tag.value)]}, node)
        return
    for word in ("anyOf", "oneOf", "allOf"):
        for branch in schema.get(word, ()):
            yield from _branches(top, branch, node)


def _entry(schema: Mapping[str, Any], part: str | int) -> Mapping[str, Any] | None:
    listed: Mapping[str, Any] = schema.get("properties", {})
    if str(part) in listed:
        return dict(listed[str(part)])
    places = schema.get("prefixItems", ())
    if isinstance(part, int) and part < len(places):
        return dict(places[part])
    for pattern, below in schema.get("patternProperties", {}).items():
        if isinstance(part, str) and re.search(pattern, part):
            return dict(below)
    rest = schema.get("items" if isinstance(part, int) else "additionalProperties")
    return dict(rest) if isinstance(rest, dict) else None
