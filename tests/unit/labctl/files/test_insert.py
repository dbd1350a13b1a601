"""A key is written into a file, and every other byte of it stays."""

import pytest
import yaml

from labctl.core.errors import BenchError
from labctl.files.insert import with_keys

TEXT = """\
# a bench
name: b   # its name
instruments:
  smu:            # on the left
    driver: k     # a comment behind
    # a comment below

    model: "2602B"
  chuck: {driver: m, resource: x}   # in one line
  hand:
    driver: manual
  deep:
    deadlines:
      query: 1 s
      # of the query
    driver: z
limits: {a: 1}
"""
NEW = {("instruments", name, "serial"): str(k) for k, name in enumerate(("smu", "chuck", "hand", "deep"))}


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_only_the_new_keys_differ_and_all_other_bytes_stay(ending):
    text = TEXT.replace("\n", ending)
    after = with_keys(text, NEW)
    values = yaml.safe_load(TEXT)
    for (_, name, key), serial in NEW.items():
        values["instruments"][name][key] = serial
    assert yaml.safe_load(after) == values
    for serial in NEW.values():
        after = after.replace(f', serial: "{serial}"', "").replace(f'    serial: "{serial}"{ending}', "")
    assert after == text


@pytest.mark.parametrize(
    "text", ["a:\n  b: 1", "a:\n  b: |\n    two\n    lines\n", "a:\n  b:\n    c: 1\n", "a: {b: 1}"]
)
def test_a_mapping_of_one_key_at_the_end_of_a_file_gets_another(text):
    assert yaml.safe_load(with_keys(text, {("a", "x"): "7"}))["a"] == {**yaml.safe_load(text)["a"], "x": "7"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\n", "a is no mapping with keys; x cannot be written there"),
        ("a: {}\n", "a is no mapping"),
        ("b: {c: 1}\n", "a: there is no 'a'"),
        ("a: {x: 1}\n", "a.x is there already"),
        ("a: &one {c: 1}\nb: *one\n", "one and the same, an alias"),
    ],
)
def test_what_cannot_be_written_is_refused(text, words):
    with pytest.raises(BenchError, match=words):
        with_keys(text, {("a", "x"): "7", **({("b", "x"): "8"} if "*" in text else {})})
