"""A program message as its units, and the elements of their data: the syntax of IEEE 488.2, chapter 7.

Text in, values out; what the words mean is the command tree's. Bytes above 127 come as latin-1 text.
"""

import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from sim_backend.emulators.scpi.errors import ScpiError

WHITE = "".join(map(chr, [*range(10), *range(11, 33)]))
"""White space: every control character but the line feed, and the blank (7.4.1.2)."""
LONGEST_MNEMONIC = 12
LARGEST_EXPONENT, MOST_DIGITS = 32000, 255
"""Of a decimal number (7.7.2.4)."""

_MNEMONIC = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_BLANKS = f"[{re.escape(WHITE)}]*"
_DECIMAL = re.compile(rf"[+-]?(?:\d+\.?\d*|\.\d+)(?:{_BLANKS}[Ee]{_BLANKS}[+-]?\d+)?")
_SUFFIX = re.compile(r"[A-Za-z/][A-Za-z0-9/.*-]*")
_RADIX = {"H": (16, string.hexdigits), "Q": (8, string.octdigits), "B": (2, "01")}


class Kind(StrEnum):
    """Kind of a data element, with the error where it stands for another one."""

    NUMBER = "number"
    CHARACTERS = "character data"
    STRING = "string"
    BLOCK = "block"
    EXPRESSION = "expression"


@dataclass(frozen=True)
class Element:
    """One element of program data.

    Args:
        text: of a number its digits, of others the content without quotes, header or brackets.
        value: of a number.
        suffix: letters behind a number, in capitals.
    """

    kind: Kind
    text: str
    value: float = 0.0
    suffix: str = ""


@dataclass(frozen=True)
class Unit:
    """One unit of a message: a command or a query.

    Args:
        words: mnemonics of the header; the one of a common command begins with an asterisk.
        rooted: the header began with a colon.
    """

    words: tuple[str, ...]
    query: bool
    rooted: bool
    data: tuple[Element, ...] = ()

    @property
    def common(self) -> bool:
        """Whether it is a common command, `*IDN?`."""
        return self.words[0].startswith("*")


def units(message: str) -> Iterator[Unit]:
    """Yield the units of a message without its terminator, each when it is asked for.

    Empty units are passed over, as instruments do.

    Raises:
        ScpiError: -1xx, where the message is not understood; the units before it have been yielded.
    """
    scanner = _Scanner(message)
    while not scanner.ended:
        if scanner.take(";"):
            continue
        yield scanner.unit()
        if not scanner.ended and not scanner.take(";"):
            raise ScpiError(-103)


class _Scanner:
    """A position in a message."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self._skip()

    @property
    def ended(self) -> bool:
        """Whether nothing is left."""
        return self.at >= len(self.text)

    def take(self, mark: str) -> bool:
        """Step over a mark and the white space behind it, if it is there."""
        if not self.text.startswith(mark, self.at):
            return False
        self.at += len(mark)
        self._skip()
        return True

    def unit(self) -> Unit:
        """Return the unit at this position, and go behind it."""
        words, rooted = self._header()
        query = self._at("?")
        self.at += query
        begin = self.at
        self._skip()
        if self.ended or self._at(";"):
            return Unit(words, query, rooted)
        if self.at == begin:
            raise ScpiError(self._strange(-111))
        data = [self._element()]
        while self.take(","):
            data.append(self._element())
        return Unit(words, query, rooted, tuple(data))

    def _header(self) -> tuple[tuple[str, ...], bool]:
        if self._at("*"):
            self.at += 1
            return (f"*{self._mnemonic()}",), False
        rooted = self._at(":")
        self.at += rooted
        words = [self._mnemonic()]
        while self._at(":"):
            self.at += 1
            words.append(self._mnemonic())
        return tuple(words), rooted

    def _mnemonic(self) -> str:
        word = self._match(_MNEMONIC)
        if not word:
            raise ScpiError(self._strange(-102))
        if len(word) > LONGEST_MNEMONIC:
            raise ScpiError(-112)
        return word.upper()

    def _element(self) -> Element:
        """Return the element at this position, and go behind it and its white space."""
        if self.ended:
            raise ScpiError(-109)
        first = self.text[self.at]
        if first in "'\"":
            element = Element(Kind.STRING, self._string(first))
        elif first == "#":
            element = self._hash()
        elif first == "(":
            element = Element(Kind.EXPRESSION, self._expression())
        elif first in "+-." or first.isdigit():
            element = self._number()
        elif word := self._match(_MNEMONIC):
            if len(word) > LONGEST_MNEMONIC:
                raise ScpiError(-144)
            element = Element(Kind.CHARACTERS, word.upper())
        else:
            raise ScpiError(-109 if first in ",;" else self._strange(-102))
        self._skip()
        return element

    def _string(self, quote: str) -> str:
        """Return the content of a string; a quote in it is doubled."""
        content, at = [], self.at + 1
        while True:
            end = self.text.find(quote, at)
            if end < 0:
                raise ScpiError(-151)
            content.append(self.text[at:end])
            if self.text[end + 1 : end + 2] != quote:
                self.at = end + 1
                return quote.join(content)
            at = end + 2

    def _hash(self) -> Element:
        """Return a number of another base, or a block."""
        mark = self.text[self.at + 1 : self.at + 2].upper()
        if mark in _RADIX:
            base, digits = _RADIX[mark]
            end = begin = self.at + 2
            while self.text[end : end + 1] and self.text[end] in digits:
                end += 1
            if end == begin:
                raise ScpiError(-121)
            self.at = end
            return Element(Kind.NUMBER, self.text[begin:end], float(int(self.text[begin:end], base)))
        if not mark.isdigit() or not mark.isascii():
            raise ScpiError(-161)
        if mark == "0":
            content, self.at = self.text[self.at + 2 :], len(self.text)
            return Element(Kind.BLOCK, content)
        begin = self.at + 2 + int(mark)
        length = self.text[self.at + 2 : begin]
        if len(length) < int(mark) or not (length.isdigit() and length.isascii()):
            raise ScpiError(-161)
        self.at = begin + int(length)
        if self.at > len(self.text):
            raise ScpiError(-161)
        return Element(Kind.BLOCK, self.text[begin : self.at])

    def _expression(self) -> str:
        """Return what is between brackets; brackets in it are paired, and strings in it are whole."""
        begin, depth = self.at + 1, 0
        while not self.ended:
            mark = self.text[self.at]
            if mark in "'\"":
                self._string(mark)
                continue
            depth += (mark == "(") - (mark == ")")
            self.at += 1
            if depth == 0:
                return self.text[begin : self.at - 1]
        raise ScpiError(-171)

    def _number(self) -> Element:
        digits = self._match(_DECIMAL)
        if not digits:
            raise ScpiError(-121)
        mantissa, _, exponent = re.sub(_BLANKS, "", digits).upper().partition("E")
        if len(re.sub(r"\D", "", mantissa)) > MOST_DIGITS:
            raise ScpiError(-124)
        if abs(int(exponent or 0)) > LARGEST_EXPONENT:
            raise ScpiError(-123)
        self._skip()
        suffix = self._match(_SUFFIX)
        if len(suffix) > LONGEST_MNEMONIC:
            raise ScpiError(-134)
        if not suffix and not self.ended and self.text[self.at] not in ",;":
            raise ScpiError(-121)
        return Element(Kind.NUMBER, digits, float(f"{mantissa}E{exponent or 0}"), suffix.upper())

    def _match(self, pattern: re.Pattern[str]) -> str:
        """Return what matches at this position, and go behind it; "" if nothing does."""
        match = pattern.match(self.text, self.at)
        if match is None or not match[0].isascii():
            return ""
        self.at = match.end()
        return match[0]

    def _strange(self, code: int) -> int:
        """Return a code, -101 if the character at this position is none that messages have."""
        return code if self.ended or self.text[self.at] in string.printable else -101

    def _at(self, mark: str) -> bool:
        return self.text.startswith(mark, self.at)

    def _skip(self) -> None:
        while not self.ended and self.text[self.at] in WHITE:
            self.at += 1


def quoted(text: str) -> str:
    """Return text as a string of a response: in double quotes, those in it doubled.

    >>> print(quoted('4" wafer'))
    "4"" wafer"
    """
    return '"' + text.replace('"', '""') + '"'


def block(content: bytes) -> str:
    """Return bytes as a definite-length block, each byte a character.

    >>> block(b"hello")
    '#15hello'
    """
    length = str(len(content))
    return f"#{len(length)}{length}{content.decode('latin-1')}"
