"""Write a key into a file that a person wrote, and leave every other byte as it is."""

from collections.abc import Mapping, Sequence

import yaml

from labctl.core.errors import BenchError


def with_keys(text: str, values: Mapping[tuple[str, ...], str]) -> str:
    """Return the text of a YAML file with one more key in each of some mappings, in quotes, behind their first key.

    Comments, order, quotes and line ends stay.

    Args:
        values: path of the new key, the last step its name: its value.

    Raises:
        BenchError: there is no such mapping, it has the key, or it is written once and used twice.

    >>> print(with_keys("a:\\n  b: 1   # one\\nc: {d: 2}\\n", {("a", "x"): "7", ("c", "x"): "8"}), end="")
    a:
      b: 1   # one
      x: "7"
    c: {d: 2, x: "8"}
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    insertions: list[tuple[int, str]] = []
    for path, value in values.items():
        *way, key = path
        node = root
        for step in way:
            node = _child(node, step, path)
        if not isinstance(node, yaml.MappingNode) or not node.value:
            raise BenchError(f"{'.'.join(way)} is no mapping with keys; {key} cannot be written there")
        if any(name.value == key for name, _ in node.value):
            raise BenchError(f"{'.'.join(path)} is there already")
        insertions.append(_insertion(text, node, f'{key}: "{value}"'))
    if len({place for place, _ in insertions}) < len(insertions):
        raise BenchError("two of the mappings are one and the same, an alias; write them out first")
    for place, new in sorted(insertions, reverse=True):
        text = text[:place] + new + text[place:]
    return text


def _child(node: yaml.Node | None, step: str, path: Sequence[str]) -> yaml.Node:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == step:
                child: yaml.Node = value
                return child
    raise BenchError(f"{'.'.join(path[:-1])}: there is no '{step}'")


def _insertion(text: str, node: yaml.MappingNode, new: str) -> tuple[int, str]:
    """Return where a new key goes, as an index into the text, and what is inserted there."""
    name, value = node.value[0]
    if node.flow_style:
        return value.end_mark.index, f", {new}"
    indent = " " * name.start_mark.column
    if len(node.value) > 1:
        following = node.value[1][0].start_mark
        place = following.index - following.column
    elif isinstance(value, yaml.ScalarNode) and value.style not in ("|", ">"):
        place = text.find("\n", value.end_mark.index) + 1
        if not place:
            return len(text), f"\n{indent}{new}"
    else:  # a block ends where the next token begins
        place = value.end_mark.index - value.end_mark.column
    ending = "\r\n" if text[place - 2 : place] == "\r\n" else "\n"
    return place, f"{indent}{new}{ending}"
