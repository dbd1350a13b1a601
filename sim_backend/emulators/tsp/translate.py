"""Translate TSP, a Lua 5.0 with its own operators, to plain Lua 5.1, line for line.

`!=` becomes `~=`; infix `&`, `|`, `^^`, `<<`, `>>` become calls. Of Lua 5.0: `for k, v in t do` iterates a table, long
texts nest (`[[a [[b]] c]]`), and what a `repeat` declares ends before its `until`.
Strings and comments stay unchanged, hence a lexer and not a search and replace. What Lua 5.0 lacks (`#`, `%`, `[=[`,
the expression `...`) is refused as by the instrument, so that a script that runs here does not fail at the bench.
Source: Lua 5.0 reference manual, 2.1, 2.4.4 and 2.5.8, and the list of changes in that of Lua 5.1, 7.1.

The manuals give the operators (2461 reference manual, TSP section) but no precedence for the bitwise ones: they
bind here as in later Lua, tighter than comparisons and looser than `..`, in the order `|`, `^^`, `&`, shifts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

BITWISE = {"&": "__tsp_and", "|": "__tsp_or", "^^": "__tsp_xor", "<<": "__tsp_shl", ">>": "__tsp_shr"}
EACH = "__tsp_each"
"""Function of the host: what `for` iterates with, `next` for a table."""
PRELUDE = f"local {','.join((*BITWISE.values(), EACH))}=...;"

_BINARY = {
    "or": (1, 1), "and": (2, 2),
    "<": (3, 3), ">": (3, 3), "<=": (3, 3), ">=": (3, 3), "~=": (3, 3), "!=": (3, 3), "==": (3, 3),
    "|": (4, 4), "^^": (5, 5), "&": (6, 6), "<<": (7, 7), ">>": (7, 7),
    "..": (9, 8), "+": (10, 10), "-": (10, 10), "*": (11, 11), "/": (11, 11), "^": (14, 13),
}  # fmt: skip
_UNARY = 12
_RESERVED = """and break do else elseif end false for function if in local nil not or repeat return then true until
while"""
_KEYWORDS = frozenset(_RESERVED.split())
_TOKEN = re.compile(
    r"""(?P<space>\s+|--(?!\[\[)[^\n]*)
    |(?P<comment>--\[\[)
    |(?P<long>\[\[)
    |(?P<string>["'])
    |(?P<number>0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<name>[A-Za-z_]\w*)
    |(?P<op>\.\.\.|\.\.|==|~=|!=|<=|>=|<<|>>|\^\^|[-+*/^<>=(){}\[\];:,.&|!])""",
    re.VERBOSE | re.ASCII,
)
_MAX_DEPTH = 150
_SPECIAL = frozenset("!&|^<>#%")
"""A chunk without these is Lua as it stands."""
_OLD = re.compile(r"\bin\b(?!\s*i?pairs\b)|\[[\[=]|\.\.\.|\brepeat\b")
"""What is another in Lua 5.0: the iteration of something else than the usual iterators give, long texts, `...`."""
_BRACKETS = re.compile(r"\[\[|\]\]")
_OPEN_LONG = re.compile(r"\[=")


class TspSyntaxError(Exception):
    """A chunk that does not parse; the message is that of the instrument, without its line."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"at line {line}: {reason}")


@dataclass(frozen=True)
class Token:
    """One token with the white space and comments before it."""

    kind: str
    text: str
    before: str
    line: int

    @property
    def raw(self) -> str:
        """Token as Lua writes it."""
        text = {"!=": "~=", "!": " not "}.get(self.text, self.text) if self.kind == "op" else self.text
        return self.before + text


def tokens(source: str) -> Iterator[Token]:
    """Yield the tokens of a chunk, an empty one of kind `end` last; TspSyntaxError at an invalid one."""
    at, line, before = 0, 1, ""
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise TspSyntaxError(line, f"unexpected symbol near `{source[at]}'")
        kind, end = match.lastgroup or "", match.end()
        if match["comment"] is not None:
            kind, end = "space", _long_end(source, end, line, "comment")
        elif match["long"] is not None:
            kind, end = "string", _long_end(source, end, line, "string")
        elif match["string"] is not None:
            end = _string_end(source, at, line)
        elif _OPEN_LONG.match(source, at):
            raise TspSyntaxError(line, "unexpected symbol near `='")
        text = source[at:end]
        if match["comment"] is not None or match["long"] is not None:
            text = _flat(text)
        if kind == "space":
            before += text
        else:
            yield Token(kind, text, before, line)
            before = ""
        line += text.count("\n")
        at = end
    yield Token("end", "", before, line)


def _long_end(source: str, at: int, line: int, what: str) -> int:
    """Return the place behind a long text that begins before `at`, and the long texts in it."""
    depth = 1
    for bracket in _BRACKETS.finditer(source, at):
        depth += 1 if bracket[0] == "[[" else -1
        if not depth:
            return bracket.end()
    raise TspSyntaxError(line, f"unfinished long {what} near `<eof>'")


def _flat(text: str) -> str:
    """Return a long text or comment with brackets that Lua 5.1 does not nest."""
    before, body = text.split("[[", 1)
    body = body[:-2]
    if not _BRACKETS.search(body):
        return text
    bars = "="
    while f"]{bars}]" in body or body.endswith(f"]{bars}"):
        bars += "="
    return f"{before}[{bars}[{body}]{bars}]"


def _string_end(source: str, at: int, line: int) -> int:
    end, quote = at + 1, source[at]
    while end < len(source) and source[end] != quote and source[end] != "\n":
        end += 2 if source[end] == "\\" else 1
    if end >= len(source) or source[end] != quote:
        raise TspSyntaxError(line, f"unfinished string near `{source[at:end]}'")
    return end + 1


@lru_cache(maxsize=1024)
def translate(source: str) -> str:
    """Return `source` as Lua 5.1 with the same lines; TspSyntaxError if a token is none of TSP's.

    >>> translate("if a != 1 then print('a != b') end -- a != b")
    "if a ~= 1 then print('a != b') end -- a != b"
    >>> translate("x = a + 1 & 6 == 2").removeprefix(PRELUDE)
    'x = __tsp_and( a + 1, 6) == 2'
    """
    if _SPECIAL.isdisjoint(source) and not _OLD.search(source):
        return source
    chunk = list(_iterating(list(_scoped(list(tokens(source))))))
    if any(t.kind == "op" and t.text in BITWISE for t in chunk):
        return PRELUDE + _Rewriter(chunk).all()
    text = "".join(t.raw for t in chunk)
    return PRELUDE + text if any(t.text == EACH for t in chunk) else text


def _scoped(chunk: list[Token]) -> Iterator[Token]:
    """Yield the tokens of a chunk with the body of each `repeat` in a block of its own; TspSyntaxError at a `...` that
    is no parameter."""
    blocks: list[str] = []
    heading = 0  # 1 behind `function`, 2 in the brackets of its parameters
    for token in chunk:
        word = token.text if token.kind == "name" else ""
        if token.kind == "op":
            heading = 2 if heading == 1 and token.text == "(" else 0 if heading == 2 and token.text == ")" else heading
            if token.text == "..." and heading != 2:
                raise TspSyntaxError(token.line, "unexpected symbol near `...'")
        if word in ("end", "until") and blocks:
            ended = blocks.pop()
            if word == "until" and ended == "repeat":
                yield Token("name", "end", " ", token.line)
        yield token
        if word in ("function", "do", "if", "repeat"):
            blocks.append(word)
            heading = 1 if word == "function" else heading
            if word == "repeat":
                yield Token("name", "do", " ", token.line)


def _iterating(chunk: list[Token]) -> Iterator[Token]:
    """Yield the tokens of a chunk with what is behind each `in` in a call of `EACH`; of what is in it, likewise."""
    ends: list[int] = []
    for at, token in enumerate(chunk):
        if ends and at == ends[-1]:
            ends.pop()
            yield Token("op", ")", "", token.line)
        yield token
        if token.kind == "name" and token.text == "in" and chunk[at + 1].text not in ("pairs", "ipairs"):
            ends.append(_do_of(chunk, at + 1))
            yield from (Token("name", EACH, " ", token.line), Token("op", "(", "", token.line))


def _do_of(chunk: list[Token], at: int) -> int:
    """Return the place of the `do` behind the expressions of a `for`, past functions in them; the end without one."""
    blocks = 0
    while chunk[at].kind != "end":
        text = chunk[at].text if chunk[at].kind == "name" else ""
        if text == "do" and not blocks:
            return at
        blocks += text in ("function", "do", "if", "repeat")
        blocks -= text in ("end", "until")
        at += 1
    return at


class _Rewriter:
    """Precedence climbing over a token list; tokens outside expressions pass through."""

    def __init__(self, chunk: list[Token]) -> None:
        self.chunk = chunk
        self.at = 0
        self.depth = 0

    @property
    def next(self) -> Token:
        return self.chunk[self.at]

    def take(self) -> str:
        self.at += 1
        return self.chunk[self.at - 1].raw

    def all(self) -> str:
        out = []
        while self.next.kind != "end":
            out.append(self.item())
        return "".join(out) + self.next.raw

    def item(self) -> str:
        """Return one expression, or one token that begins none."""
        token = self.next
        begins = (
            token.kind in ("number", "string")
            or (token.kind == "name" and (token.text not in _KEYWORDS or token.text in ("nil", "true", "false", "not")))
            or (token.kind == "op" and token.text in ("(", "{", "-", "!", "..."))
        )
        return self.expression(0) if begins else self.take()

    def expression(self, least: int) -> str:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise TspSyntaxError(self.next.line, "chunk has too many syntax levels")
        if self.next.text in ("-", "not", "!") and self.next.kind != "string":
            left = self.take() + self.expression(_UNARY)
        else:
            left = self.operand()
        while self.next.kind in ("op", "name") and (power := _BINARY.get(self.next.text)) and power[0] > least:
            name = BITWISE.get(self.next.text)
            before, operator = self.next.before, self.take()
            right = self.expression(power[1])
            left = f" {name}({left},{before}{right})" if name else left + operator + right
        self.depth -= 1
        return left

    def operand(self) -> str:
        """Return a primary with its calls, fields and indices."""
        token = self.next
        if token.kind == "end" or (token.kind == "op" and token.text not in ("(", "{", "...")):
            raise TspSyntaxError(token.line, f"unexpected symbol near `{token.text or '<eof>'}'")
        if token.text == "function":
            return self.function()
        out = self.bracket() if token.kind == "op" and token.text in "({" else self.take()
        while self.next.kind in ("op", "string"):
            following = self.next
            if following.kind == "string" or following.text in ("(", "{", "["):
                out += self.bracket() if following.kind == "op" else self.take()
            elif following.text in (".", ":"):
                out += self.take() + self.take()
            else:
                break
        return out

    def function(self) -> str:
        """Return a function body up to its own `end`."""
        out, open_blocks = self.take(), 1
        while open_blocks:
            text, kind = self.next.text, self.next.kind
            if kind == "end":
                raise TspSyntaxError(self.next.line, "`end' expected near `<eof>'")
            if kind == "name":
                open_blocks += text in ("function", "do", "if", "repeat")
                open_blocks -= text in ("end", "until")
            out += self.item()
        return out

    def bracket(self) -> str:
        """Return everything up to the closing bracket."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise TspSyntaxError(self.next.line, "chunk has too many syntax levels")
        close = {"(": ")", "{": "}", "[": "]"}[self.next.text]
        out = self.take()
        while self.next.kind == "string" or self.next.text != close:
            if self.next.kind == "end":
                raise TspSyntaxError(self.next.line, f"`{close}' expected near `<eof>'")
            out += self.item()
        self.depth -= 1
        return out + self.take()
