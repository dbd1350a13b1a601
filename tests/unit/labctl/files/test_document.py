"""YAML as people write it: version 1.2, and what could mean two things is refused with its line."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.files import document
from labctl.files.document import parse, parse_value, read, scalar

PATH = Path("campaign.yaml")


def plain(text: str) -> Any:
    parsed = parse(text, PATH)
    assert not parsed.problems, [str(p) for p in parsed.problems]
    assert parsed.root is not None
    return parsed.root.plain()


def problems(text: str) -> list[str]:
    return [str(p) for p in parse(text, PATH).problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("off", "off"),
        ("yes", "yes"),
        ("on", "on"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("tRUE", "tRUE"),
        ("1e-9", 1e-9),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("+7", 7),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("2026-11-22", "2026-11-22"),
        ("450 mV", "450 mV"),
        ("nan", "nan"),
        ("=", "="),
        ("", None),
        ("~", None),
        ("null", None),
        ("None", "None"),
    ],
)
def test_a_plain_scalar_is_what_yaml_1_2_says(text: str, value: object) -> None:
    parsed = plain(f"key: {text}\n")["key"]
    assert parsed == value
    assert type(parsed) is type(value)
    assert scalar(text) == value


@pytest.mark.parametrize("text", ["no", "1e-9", "true", "~", "010", ".nan"])
def test_what_stands_in_quotes_is_text(text: str) -> None:
    assert plain(f"a: '{text}'\nb: \"{text}\"\nc: |-\n  {text}\n") == {"a": text, "b": text, "c": text}


@pytest.mark.parametrize("text", [".nan", ".inf", "-.Inf", "1e999", "-1e999", "9" * 301])
def test_what_is_not_finite_is_refused(text: str) -> None:
    (messages,) = problems(f"a: 1\nb:\n  c: {text}\n")
    assert messages == f"campaign.yaml:3: b.c: found {text[:40]}, expected a finite number"


def test_keys_are_text() -> None:
    assert plain("1: a\nno: b\n~: c\n'x y': d\n") == {"1": "a", "no": "b", "~": "c", "x y": "d"}


def test_a_key_written_twice_is_refused_with_both_lines() -> None:
    messages = problems("a: 1\nb: {x: 1,\n    x: 2}\nc:\n- d: 1\n  d: 1\na: 3\n")
    assert messages == [
        "campaign.yaml:3: b.x: found the key twice, on lines 2 and 3; expected once",
        "campaign.yaml:6: c.0.d: found the key twice, on lines 5 and 6; expected once",
        "campaign.yaml:7: a: found the key twice, on lines 1 and 7; expected once",
    ]


def test_anchors_and_merge_keys_are_written_out() -> None:
    text = "base: &b {v: 1 V, w: 2 V}\nother: &o {w: 3 V, u: 4 V}\na: {<<: *b, w: 9 V}\nb: {<<: [*b, *o]}\nc: *b\n"
    parsed = plain(text)
    assert parsed["a"] == {"v": "1 V", "w": "9 V"}
    assert parsed["b"] == {"v": "1 V", "w": "2 V", "u": "4 V"}
    assert parsed["c"] == parsed["base"]


def test_a_value_remembers_where_it_was_written() -> None:
    root = parse("# top\nbase: &b\n  v: 1 V\na:\n  <<: *b\n  w:\n    - 1\n    - 2\n", PATH).root
    assert root is not None
    assert root.at(("a", "w", 1)).where == "campaign.yaml:8"
    assert root.at(("a", "v")).where == "campaign.yaml:3"
    assert root.at(("a",)).where == "campaign.yaml:4"
    assert root.at(("a", "none", 3)).where == "campaign.yaml:4"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "campaign.yaml:1: found an empty file, expected keys and values (key: value)"),
        ("# only words\n", "campaign.yaml:1: found an empty file, expected keys and values (key: value)"),
        ("- a\n- b\n", "campaign.yaml:1: found a list, expected keys and values (key: value)"),
        ("\nkey:value\n", "campaign.yaml:2: found the single value 'key:value', expected keys and values (key: value)"),
        ("a: 1\n---\nb: 2\n", "campaign.yaml:2: found a second document ('---'), expected one per file"),
        ("a:\n\tb: 1\n", "campaign.yaml:2: found a tab, expected spaces: YAML indents with spaces only"),
        ("a:\n  b: 1\n\tc: 1\n", "campaign.yaml:3: found a tab, expected spaces: YAML indents with spaces only"),
        ("a: 1\nb: c: d\n", "campaign.yaml:2: found a second ': ' in one line"),
        ("a: 1\n<<<<<<< HEAD\nb: 2\n=======\nb: 3\n", "campaign.yaml:2: found the mark of a merge conflict, expected"),
        ("a: *none\n", "campaign.yaml:1: found undefined alias 'none', expected an anchor '&name' above it"),
        ("b: 3\na: [1, 2\nc: 3\n", "campaign.yaml:2: found a bracket that is not closed, expected ']' or '}'"),
        ("b: 3\na: {c: 1\n", "campaign.yaml:2: found a bracket that is not closed, expected ']' or '}'"),
        ("b: 3\na: 'open\nc: 3\n", "campaign.yaml:2: found a quote that is not closed"),
        ("a: 1\nseed 1\n\nb: 2\n", "campaign.yaml:2: found 'seed 1' without ': ', expected 'key: value'"),
        ("a:\n  b: 1 V\n  c:10 ms\n  d: 2\n", "campaign.yaml:3: found 'c:10 ms' without ': '"),
        ("a: 1\n b: 2\n", "campaign.yaml:2: found a key that is indented deeper than the one above it"),
        ("a: b: 2\n", "campaign.yaml:1: found a second ': ' in one line"),
        ("a: 1\nb: @x\n", "campaign.yaml:2: found a value that begins with '@', expected it in quotes"),
        ("a: 1\n b: 2\n", "campaign.yaml:2: "),
        ("a: 1\nb: \x07\n", "campaign.yaml:2: found the control character U+0007, expected printable text"),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            "campaign.yaml:1: a: found the tag !!python/object/apply:os.system",
        ),
        ("a: !include b.yaml\n", "campaign.yaml:1: a: found the tag !include, expected a value without a tag"),
        ("a: !!binary aGk=\n", "campaign.yaml:1: a: found the tag !!binary"),
        ("a: !!set {b, c}\n", "campaign.yaml:1: a: found the tag !!set"),
        ("? [a, b]\n: 1\n", "campaign.yaml:1: found a list or mapping as a key, expected a text"),
        ("a: {<<: 3}\n", "campaign.yaml:1: a: found '<<' with something else"),
        ('a: "\\ud800"\n', "campaign.yaml:1: found half a character"),
        ('a: "one\\0two"\n', "campaign.yaml:1: a: found the control character U+0000, expected printable text"),
        ('a: "one\\e[2J"\n', "campaign.yaml:1: a: found the control character U+001B"),
    ],
)
def test_what_is_not_a_file_people_write_is_refused(text: str, says: str) -> None:
    assert problems(text)[0].startswith(says)


def test_alias_bombs_and_depths_are_refused() -> None:
    bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
    )
    assert "more than 100000 values" in problems(bomb)[0]
    merges = "m0: &m0 {k: 1}\n" + "".join(f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}\n" for n in range(1, 200))
    assert "expected what people write" in problems(merges)[0]
    assert "contains it" in problems("a: &a [1, *a]\n")[0]
    assert "contains it" in problems("a: &a {b: *a}\n")[0]
    assert "something else" in problems("a: &a {<<: *a}\n")[0]
    assert "levels" in problems("a: " + "[" * 100 + "]" * 100)[0]
    assert "levels" in problems("a: " + "[" * 20000 + "]" * 20000)[0]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    good = tmp_path / "wine.yaml"
    good.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    parsed = read(good)
    assert parsed.root is not None
    assert parsed.root.plain() == {"a": 1, "b": 2}
    assert parsed.text == "a: 1\r\nb: 2\r\n"
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("a: 1\nb: 5 µA\n".encode("latin-1"))
    big = tmp_path / "big.yaml"
    big.write_bytes(b"# much\n" * (document.MAX_BYTES // 7 + 1))
    messages = [
        str(read(p).problems[0])
        for p in (tmp_path / "wien.yaml", tmp_path / "no" / "a.yaml", tmp_path, latin, big, tmp_path / "a\0b")
    ]
    assert messages[0] == f"{tmp_path / 'wien.yaml'}: no such file; did you mean {good}?"
    assert (
        messages[1] == f"{tmp_path / 'no' / 'a.yaml'}: no such file; the folder {tmp_path / 'no'} does not exist either"
    )
    assert messages[2] == f"{tmp_path}: found a folder, expected a YAML file"
    assert messages[3] == f"{latin}:2: found the byte 0xb5, expected text in UTF-8"
    assert "more than 4 MiB" in messages[4]
    assert "cannot be read" in messages[5]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("55 nm", "55 nm"),
        ("12", 12),
        ("true", True),
        ("no", "no"),
        ("", None),
        ("C:\\data\\a: b #1.npz", "C:\\data\\a: b #1.npz"),
        ("*.npz", "*.npz"),
        ("[1 V, 2 V]", ["1 V", "2 V"]),
        ("{a: 1, b: [x]}", {"a": 1, "b": ["x"]}),
        ("'12'", "12"),
        ('"a#b"', "a#b"),
    ],
)
def test_a_value_on_the_command_line(text: str, value: object) -> None:
    node, parsed = parse_value(text, ("a",))
    assert not parsed
    assert node is not None
    assert node.plain() == value
    assert node.where == "--set"


@pytest.mark.parametrize("text", ["[1, 2", "{a: .nan}", ".inf", "'open", "{a: 1, a: 2}", "[!x 1]"])
def test_a_wrong_value_on_the_command_line(text: str) -> None:
    _, parsed = parse_value(text, ("dies", 0))
    assert str(parsed[0]).startswith("--set: dies.0")


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_its_place(text: str) -> None:
    parsed = parse(text, PATH)
    assert (parsed.root is not None) or parsed.problems
    assert all(str(p).startswith("campaign.yaml:") for p in parsed.problems)


@given(st.text("ab:-[]{}&*<>!|#'\" \n\t019.", max_size=40))
def test_any_punctuation_is_read_or_refused_with_its_place(text: str) -> None:
    parsed = parse(text, PATH)
    assert (parsed.root is not None) or parsed.problems
    assert all(str(p).startswith("campaign.yaml:") for p in parsed.problems)
    parse_value(text, ())
