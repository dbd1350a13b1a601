"""What a file or a terminal cannot hold: one rule, for every character there is."""

import sys
import unicodedata

import pytest

from labctl.core.errors import BenchError, InstrumentError, LabError, LimitError
from labctl.core.texts import named_character, odd_character, visible

DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def test_the_rule_covers_every_character_that_is_obeyed_or_cannot_be_encoded() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        category = unicodedata.category(character)
        obeyed = category in ("Cc", "Zl", "Zp", "Cs") or unicodedata.bidirectional(character) in DIRECTIONS
        if obeyed and character not in "\t\n":
            assert odd_character(f"ab{character}c") == character, hex(code)
        if character.isprintable() or character in "\t\n\u00a0\u00ad\u200c\u200d":
            assert odd_character(character) == "", hex(code)


def test_what_is_written_out_can_be_encoded_and_is_printable() -> None:
    text = "größer\x00\x1b[2J\x85\u202e\udce9\ufffe 90 µm 👩\u200d🔬\n"
    shown = visible(text)
    assert odd_character(shown) == ""
    assert shown == "größer\\x00\\x1b[2J\\x85\\u202e\\udce9\\ufffe 90 µm 👩\u200d🔬\n"
    assert visible(shown) == shown
    shown.encode("utf-8")


@pytest.mark.parametrize("kind", [LabError, BenchError, InstrumentError])
def test_a_message_never_has_what_a_terminal_obeys(kind: type[LabError]) -> None:
    assert str(kind("smu1 answered '\x1b[2J\x9b'")) == "smu1 answered '\\x1b[2J\\x9b'"
    assert str(LimitError("cell \x1bvoltage", 1.0, 0.5, "V")).startswith("cell \\x1bvoltage: 1 V asked for")


def test_a_character_is_named() -> None:
    assert named_character("\ud800") == "half a character (U+D800)"
    assert named_character("\u200b") == "the character U+200B (zero width space)"
