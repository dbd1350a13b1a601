"""The keys of the files that people write, as tables, from the same schema that editors and ``labctl schema`` have."""

from collections.abc import Iterator, Mapping
from typing import Any

from docsite.links import slug

Schema = Mapping[str, Any]
_BOUNDS = {
    "exclusiveMinimum": "above",
    "minimum": "from",
    "exclusiveMaximum": "below",
    "maximum": "to",
    "x-maximum": "to",
}
_KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": ""}
_FAR = 2**53
"""A bound from here on says nothing to a person."""
_WITH = " with "
"""Between the path of a section and what chooses it among others in the same place."""


def cell(text: str) -> str:
    r"""Return a text as a cell of a Markdown table.

    >>> cell("a | b")
    'a \\| b'
    """
    return " ".join(text.split()).replace("|", "\\|")


def render(schema: Schema) -> str:
    """Return a table of the keys of a file, and one of every section under the path of keys that leads to it.

    Args:
        schema: JSON schema of the file, with its sections under ``$defs``.
    """
    return _Page(schema).text()


def _keys(section: Schema) -> Iterator[tuple[str, Schema, bool]]:
    """Yield the keys of a section, and whether each is required; of a choice, those of every mapping in it."""
    required = section.get("required", ())
    for key, value in section.get("properties", {}).items():
        yield key, value, key in required
    for choice in section.get("anyOf", ()):
        yield from _keys(choice)


class _Page:
    """The tables of one schema. A section has the path at which it is met first; words to choose from have none."""

    def __init__(self, schema: Schema) -> None:
        self._definitions: Mapping[str, Schema] = schema.get("$defs", {})
        self._top = schema
        self._paths: dict[str, str] = {}
        self._follow(schema, "")

    def text(self) -> str:
        """Return the tables, each under its heading."""
        parts = [self._table(self._top)]
        for name, path in self._paths.items():
            section = self._definitions[name]
            parts.append(f"## {path}\n\n{section.get('description', '').strip()}\n\n{self._table(section)}")
        return "\n\n".join(parts)

    def _follow(self, section: Schema, path: str) -> None:
        """Give the sections that a section names their paths: all of its own keys first."""
        met = []
        for key, value, _ in _keys(section):
            for name, end in self._sections(value):
                if name not in self._paths:
                    full, common = (
                        f"{start}.{key}{end}".removeprefix(".") for start in (path, path.partition(_WITH)[0])
                    )
                    # what several alternatives have is called without them
                    self._paths[name] = full if common in self._paths.values() else common
                    met.append(name)
        for name in met:
            self._follow(self._definitions[name], self._paths[name])

    def _sections(self, value: Schema, end: str = "") -> Iterator[tuple[str, str]]:
        """Yield the sections that a value may be, and what their path has behind the key."""
        if "$ref" in value:
            name = _target(value)
            definition = self._definitions[name]
            if any(True for _ in _keys(definition)):
                yield name, end
            for choice in definition.get("oneOf", ()):
                by = definition.get("discriminator", {}).get("propertyName", "")
                for further, _ in self._sections(choice):
                    yield further, f"{end}{_WITH}{by}: {further}"
        for choice in (*value.get("anyOf", ()), *value.get("oneOf", ()), *value.get("prefixItems", ())):
            yield from self._sections(choice, end)
        if isinstance(value.get("items"), Mapping):
            yield from self._sections(value["items"], f"{end}[]")
        for values in (value.get("additionalProperties"), *value.get("patternProperties", {}).values()):
            if isinstance(values, Mapping):
                yield from self._sections(values, f"{end}.NAME")

    def _table(self, section: Schema) -> str:
        rows = ["| key | what is expected | if left out | meaning |", "|---|---|---|---|"]
        for key, value, required in _keys(section):
            left_out = "**required**" if required else _default(value)
            meaning = value.get("description") or self._of_section(value)
            rows.append(f"| `{key}` | {cell(self.expected(value))} | {cell(left_out)} | {cell(meaning)} |")
        return "\n".join(rows)

    def _of_section(self, value: Schema) -> str:
        """Return the first sentence about the section that a key without a text of its own leads to."""
        names = [name for name, _ in self._sections(value)]
        text = str(self._definitions[names[0]].get("description", "")) if len(names) == 1 else ""
        first = " ".join(text.partition("\n\n")[0].split()).partition(". ")[0].rstrip(".")
        return first[:1].lower() + first[1:]

    def expected(self, value: Schema) -> str:
        """Return in words what the value of a key may be."""
        if "$ref" in value:
            name = _target(value)
            if name in self._paths:
                path = self._paths[name]
                return f"[{name if _WITH in path else path}](#{slug(path)})"
            return self.expected(self._definitions[name])
        for union in ("anyOf", "oneOf"):
            if union in value:
                return self._one_of(value[union])
        if "const" in value:
            return f"`{value['const']}`"
        if "enum" in value:
            return " or ".join(f"`{word}`" for word in value["enum"])
        if "prefixItems" in value:
            return "[" + ", ".join(self.expected(one) for one in value["prefixItems"]) + "]"
        if value.get("type") == "array":
            return f"list of {self.expected(value['items'])}" if value.get("items") else "list"
        if value.get("type") == "object":
            values = value.get("additionalProperties") or next(iter(value.get("patternProperties", {}).values()), None)
            return f"NAME: {self.expected(values)}" if isinstance(values, Mapping) else "mapping"
        return _scalar(value)

    def _one_of(self, choices: list[Schema]) -> str:
        # beside a quantity stands the bare number that it may be where it has no unit, which says nothing more
        quantities = any("x-unit" in choice for choice in choices)
        shown = [c for c in choices if not (quantities and c.get("type") in ("number", "integer"))]
        return " or ".join(dict.fromkeys(text for choice in shown if (text := self.expected(choice))))


def _target(value: Schema) -> str:
    return str(value["$ref"]).rpartition("/")[2]


def _scalar(value: Schema) -> str:
    """Return in words what a text, a number or a quantity may be.

    >>> _scalar({"type": "integer", "minimum": 0, "maximum": 9})
    'whole number, from 0 to 9'
    >>> _scalar({"type": "string", "x-unit": "V", "examples": ["450 mV"]})
    'quantity in V, such as `450 mV`'
    """
    kind = value.get("x-form") or _KINDS.get(value.get("type", ""), "any value")
    if "x-unit" in value:
        kind = f"quantity in {value['x-unit']}" if value["x-unit"] else "ratio"
        kind += "".join(f", such as `{example}`" for example in value.get("examples", ())[:1])
    bounds = [f"{word} {value[key]:g}" for key, word in _BOUNDS.items() if key in value and abs(value[key]) < _FAR]
    return f"{kind}, {' '.join(bounds)}" if bounds else kind


def _default(value: Schema) -> str:
    """Return in words what holds if a key is left out."""
    default = value.get("default")
    match default:
        case None:
            return "nothing"
        case bool():
            return str(default).lower()
        case "" | [] | {}:
            return "empty"
        case dict():
            return "as there"
        case float():
            units = (choice.get("x-unit") for choice in (value, *value.get("anyOf", ())))
            return f"{default:g} {next(filter(None, units), '')}".strip()
    return f"`{default}`"
