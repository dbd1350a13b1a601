"""The pattern functions written in Lua give what those of Lua itself give: results, captures and errors."""

import random
import re
from typing import Any

from lupa import lua51

from sim_backend.emulators.tsp.patterns import PATTERNS

ITEMS = ["a", "b", ".", "%a", "%d", "[ab]", "[^a]", "[a-c]", "%w", "%s", "%%", "%b()", "%f[a]", "%1", "%2", "(", ")",
         "()", "^", "$", "[", "]", "%", "-", "[]", "[%a]", "\0", "%z", "%0", "[^]"]  # fmt: skip
TIMES = ["", "", "", "*", "+", "-", "?"]
LETTERS = ["a", "b", "c", "(", ")", "x", " ", "1", "%", "\0"]
CASES = 1500

TALK = """function(f, ...)
  local function pack(...) return select("#", ...), {...} end
  local n, values = pack(pcall(f, ...))
  for k = 1, n do values[k] = type(values[k]) .. ":" .. tostring(values[k]) end
  return table.concat(values, "|", 1, n)
end"""
EACH = """function(gmatch)
  return function(s, p)
    local lines = {}
    for a, b, c in gmatch(s, p) do lines[#lines + 1] = tostring(a) .. tostring(b) .. tostring(c) end
    return table.concat(lines, ";")
  end
end"""


def same(text: str) -> str:
    """Return a result without the place of an error and the address of a table."""
    text = re.sub(r"\[string[^]]*\]:\d+: |0x[0-9a-f]+", "", text)
    return text.replace("'", "`").replace("#3 to `gsub`", "#3")


def test_random_patterns_match_as_in_lua_itself() -> None:
    lua: Any = lua51.LuaRuntime(encoding="latin-1")
    ours, theirs = lua.execute(PATTERNS), lua.globals().string
    talk, each = lua.eval(TALK), lua.eval(EACH)
    replacements = ["<%0>", "%1", "z", "%1%2", "%%", "", lua.eval("{a = 'Q', b = 7, c = false}"),
                    lua.eval("function(a, b) if a == 'a' then return b end return '<' .. tostring(a) .. '>' end"),
                    lua.eval("function() return {} end")]  # fmt: skip
    rng, errors = random.Random(5), 0
    for _ in range(CASES):
        pattern = "".join(rng.choice(ITEMS) + rng.choice(TIMES) for _ in range(rng.randrange(6)))
        text = "".join(rng.choice(LETTERS) for _ in range(rng.randrange(9)))
        start, most = rng.choice([None, 1, 2, -1, -3, 0, 20]), rng.choice([None, None, 0, 1, 2])
        calls = [("match", (text, pattern, start)), ("gsub", (text, pattern, rng.choice(replacements), most))]
        if set(pattern.partition("\0")[0]) & set("^$*+?.([%-"):
            calls.append(("find", (text, pattern, start)))
        for name, arguments in calls:
            expected = talk(theirs[name], *arguments)
            errors += expected.startswith("boolean:false")
            assert same(talk(ours[name], *arguments)) == same(expected), (name, arguments)
        assert same(talk(each(ours.gmatch), text, pattern)) == same(talk(each(theirs.gmatch), text, pattern)), pattern
    assert CASES // 10 < errors < 2 * CASES


def test_a_text_is_found_where_lua_itself_finds_it() -> None:
    lua: Any = lua51.LuaRuntime(encoding="latin-1")
    ours, theirs = lua.execute(PATTERNS), lua.globals().string
    for text, part in (("abcabc", "ca"), ("abc", "d"), ("", ""), ("abc", ""), ("a\0b", "\0b"), ("aab", "ab")):
        for start in (None, 1, 3, -2, 9):
            assert ours.plain(text, part, start) == theirs.find(text, part, start, True), (text, part, start)
