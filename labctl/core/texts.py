"""Texts that files and terminals can hold: one rule for what people, programs and instruments write.

A control character is obeyed by a terminal and refused by HDF5 or XML; half a character can be written to no file; what
changes the direction of writing shows another text than the one that is there. Where a text is read, it is refused
(`odd_character`); where one is shown that nobody could refuse, such as the reply of an instrument or the name of a
file, it is escaped (`visible`).
"""

import json
import re
import unicodedata

# Cc but tab and line feed, Zl, Zp, Cs, non-characters, and of Cf all but soft hyphen and what joins letters and emoji
_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u0600-\u0605\u061c\u06dd\u070f\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
    "|[\U0001fffe\U0001ffff\U0002fffe\U0002ffff\U0010fffe\U0010ffff]"
)


def odd_character(text: str) -> str:
    r"""Return the first character of `text` that a file or a terminal cannot hold, "" if there is none.

    >>> odd_character("90 µm, größer"), odd_character("a\x1b[2Jb"), odd_character("a\u202eb")
    ('', '\x1b', '\u202e')
    """
    match = _ODD.search(text)
    return match[0] if match else ""


def named_character(character: str) -> str:
    r"""Return the code and the name of a character, for messages.

    >>> named_character("\x1b"), named_character("\u202e")
    ('the control character U+001B', 'the character U+202E (right-to-left override)')
    """
    code = f"U+{ord(character):04X}"
    if "\ud800" <= character <= "\udfff":
        return f"half a character ({code})"
    name = unicodedata.name(character, "")
    return f"the character {code} ({name.lower()})" if name else f"the control character {code}"


def visible(text: str) -> str:
    r"""Return `text` with every character that a file or a terminal cannot hold written out.

    >>> print(visible("a\x1b[2Jb\udce9"))
    a\x1b[2Jb\udce9
    """
    return _ODD.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def visible_json(text: str) -> str:
    r"""Return a JSON text with every such character escaped as JSON does it: the text that is read is the same.

    >>> print(visible_json('"a\x9bb"'))
    "a\u009bb"
    """
    return _ODD.sub(lambda match: json.dumps(match[0])[1:-1], text)
