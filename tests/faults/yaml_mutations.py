"""YAML files with slips in them: of their structure, their bytes and their encoding, and files made to be too much."""

import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from typing import Any

import yaml
from faults.odd import BYTES, ENCODINGS, FLOATS, INTEGERS, NUMBERS, OTHER_FILES, QUANTITIES, TEXTS


class Raw(str):
    """A plain scalar that is written as it is."""


class Twice(dict):
    """A mapping whose first key is written once more at its end."""


class _Dumper(yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(Raw, lambda dumper, raw: yaml.ScalarNode("tag:yaml.org,2002:str", str(raw), style=""))
_Dumper.add_representer(
    Twice,
    lambda dumper, mapping: (
        lambda node: yaml.MappingNode(node.tag, [*node.value, *node.value[:1]], flow_style=node.flow_style)
    )(dumper.represent_mapping("tag:yaml.org,2002:map", dict(mapping))),
)
_FLAT = frozenset((str, int, float, bool, type(None)))


def _dumped(tree: Any) -> bytes:
    try:
        text = yaml.dump(tree, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=1000)
    except UnicodeEncodeError:  # libyaml writes no half characters; in JSON, which is YAML, they are escaped
        text = json.dumps(tree)
    return text.encode("utf-8", "surrogatepass")


@cache
def _tree(text: str) -> Any:
    return yaml.safe_load(text)


def odd_value(rng: random.Random, tree: Any) -> Any:
    """Return a value of any type that hardly belongs anywhere."""
    pools: tuple[Callable[[], Any], ...] = (
        lambda: rng.choice(INTEGERS),
        lambda: rng.choice(FLOATS),
        lambda: Raw(rng.choice(NUMBERS)),
        lambda: rng.choice(QUANTITIES),
        lambda: rng.choice(QUANTITIES),
        lambda: rng.choice(TEXTS),
        lambda: rng.choice(TEXTS),
        lambda: rng.choice([True, False, None]),
        lambda: rng.choice([[], {}, [[]], [{}], {"": ""}, [None], {"a": {"b": {"c": 1}}}]),
        lambda: [rng.choice(INTEGERS)] * rng.choice([1, 2, 3, 100]),
        lambda: [rng.choice(TEXTS)] * rng.choice([1, 2, 3, 100]),
        lambda: deepcopy(rng.choice([value for _, _, value in _entries(tree)] or [0])),
    )
    return rng.choice(pools)()


def _entries(tree: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield (container, key or index, value) of everything in a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items):
        yield tree, key, value
        yield from _entries(value)


def _paths(tree: Any, at: tuple = ()) -> Iterator[tuple[tuple, dict]]:
    """Yield the path and content of every mapping in a tree."""
    if isinstance(tree, dict):
        yield at, tree
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from _paths(value, (*at, key))


def structure(rng: random.Random, text: str, keys: Callable[[tuple], list[str]]) -> bytes:
    """Return the file with keys dropped, doubled, renamed, added, and values of other kinds.

    Args:
        keys: returns the keys that the mapping at a path may have.
    """
    tree = deepcopy(_tree(text))
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        entries = list(_entries(tree))
        if not entries:
            break
        container, key, value = rng.choice(entries)
        what = rng.randrange(9)
        if what == 0:
            del container[key]
        elif what == 1 and isinstance(container, dict):
            renamed = rng.choice([str(key).upper(), f"{key}s", str(key)[1:], str(key)[::-1], rng.choice(TEXTS)])
            container[renamed] = container.pop(key)
        elif what == 2 and isinstance(value, dict) and value:
            container[key] = Twice(value)
        elif what in (3, 4):
            at, mapping = rng.choice(list(_paths(tree)) or [((), {})])
            mapping[rng.choice(keys(at) or ["x"])] = odd_value(rng, tree)
        elif what == 5 and isinstance(container, list):
            container.extend(deepcopy(value) for _ in range(rng.choice([1, 2, 40])))
        elif what == 6:
            container[key] = rng.choice([[value], {"x": value}, str(value), {str(key): value}])
        else:
            container[key] = odd_value(rng, tree)
    return _dumped(tree)


def scalars(rng: random.Random, text: str) -> bytes:
    """Return the file with a number in it replaced by another spelling or size."""
    lines = text.splitlines(keepends=True)
    lines = [line for line in lines if not line.lstrip().startswith("#")]
    for _ in range(rng.choice([1, 1, 2])):
        k = rng.randrange(len(lines))
        words = lines[k].split(" ")
        n = rng.randrange(len(words))
        words[n] = rng.choice([*NUMBERS, *QUANTITIES, *(t for t in TEXTS if t.isascii()), str(rng.choice(INTEGERS))])
        lines[k] = " ".join(words)
    return "".join(lines).encode("utf-8", "surrogatepass")


def bytes_of(rng: random.Random, content: bytes) -> bytes:
    """Return a file whose bytes were flipped, cut, moved, doubled, zeroed or mixed with others."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5])):
        if not data:
            break
        at, length = rng.randrange(len(data)), rng.choice([1, 2, 7, 40, 300])
        what = rng.randrange(8)
        if what == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            del data[at:]
        elif what == 2:
            del data[at : at + length]
        elif what == 3:
            data[at:at] = rng.choice(BYTES)
        elif what == 4:
            data[at : at + length] = data[at : at + length] * 2
        elif what == 5:
            data[at : at + length] = bytes(len(data[at : at + length]))
        elif what == 6:
            there = rng.randrange(len(data))
            data[there:there] = data[at : at + length]
        else:
            data[at : at + length] = rng.randbytes(length)
    return bytes(data)


def encoded(rng: random.Random, text: str) -> bytes:
    """Return the text in another encoding, or with other line ends."""
    if rng.random() < 0.2:
        return text.replace("\n", rng.choice(["\r", "\r\n", "\x85", "\u2028", "\n\r"])).encode()
    return text.replace("# ", f"# {rng.choice(['', 'µ', 'ß', '名'])} ", 2).encode(rng.choice(ENCODINGS), "replace")


def too_much(rng: random.Random, text: str) -> bytes:
    """Return a file that is out of all proportion: keys, levels, aliases, numbers, lines."""
    n = rng.choice([200, 3000, 20_000, 150_000])
    deep = min(n, 20_000)
    makers: tuple[Callable[[], str], ...] = (
        lambda: text + "\n" + "".join(f"key{k}: {k}\n" for k in range(n)),
        lambda: text + "\nextra: {" + ", ".join(f"k{k}: 1" for k in range(n)) + "}\n",
        lambda: text + "\nextra: [" + "1, " * n + "]\n",
        lambda: text + "\nextra: " + "[" * deep + "]" * deep + "\n",
        lambda: text + "\nextra: " + "{a: " * deep + "1" + "}" * deep + "\n",
        lambda: text + "\n" + "".join(f"{' ' * k}a:\n" for k in range(min(n, 1500))),
        lambda: (
            text
            + "\na0: &a0 [x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, rng.choice([3, 6, 12])))
        ),
        lambda: (
            "m0: &m0 {x: 1}\n"
            + "".join(f"m{k}: &m{k} {{<<: [{', '.join([f'*m{k - 1}'] * 9)}]}}\n" for k in range(1, 9))
        ),
        lambda: "a: &a [*a]\n" + text,
        lambda: text + "\n" + "- &x " * min(n, 500) + "1\n",
        lambda: text + f"\nseed: {'9' * n}\n",
        lambda: text + f"\ntitle: {'x' * n}\n",
        lambda: text + f'\ntitle: "{"x " * n}"\n',
        lambda: text + "\n" + "# comment\n" * n,
        lambda: text + "\n" * n,
        lambda: text + "\n---\n" * min(n, 3000),
        lambda: "".join(f"&a{k} k{k}: *a{k}\n" for k in range(min(n, 3000))),
        lambda: text + "\n? " * min(n, 3000),
        lambda: "!" * min(n, 3000) + text,
        lambda: text + "\nextra: '" + "''" * n,
        lambda: text + "\nextra: |\n" + " x\n" * n,
        lambda: "key: " * min(n, 3000) + "\n" + text,
        lambda: text + "\n" + "x" * n + ": 1\n",
    )
    return rng.choice(makers)().encode()


def mutated(rng: random.Random, text: str, keys: Callable[[tuple], list[str]]) -> tuple[str, bytes]:
    """Return what was done to a YAML file, and the file."""
    chance = rng.random()
    if chance < 0.62:
        return "structure", structure(rng, text, keys)
    if chance < 0.76:
        return "scalars", scalars(rng, text)
    if chance < 0.93:
        return "bytes", bytes_of(rng, text.encode())
    if chance < 0.97:
        return "encoding", encoded(rng, text)
    if chance < 0.985:
        return "other file", rng.choice(OTHER_FILES)
    return "too much", too_much(rng, text)
