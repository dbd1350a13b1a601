"""TSP: translation of its operators, the sandbox, messages, errors and formats."""

import struct

import numpy as np
import pytest

from sim_backend.emulators.k2600 import K2600
from sim_backend.emulators.resistors import ResistorBox
from sim_backend.emulators.tsp.bits import OPERATORS
from sim_backend.emulators.tsp.translate import PRELUDE, TspSyntaxError, translate
from sim_backend.emulators.tsp.vm import Lua, LuaError, Refusal
from sim_backend.emulators.world import Cables, World


def make(**options: int) -> K2600:
    world = World(Cables({"smu.smua": "pad"}, {}), ResistorBox(np.full((1, 2, 3), 1e-4)))
    return K2600("smu", "2601B", world, **options)


def ask(smu: K2600, text: str) -> str:
    return smu.handle(text.encode() + b"\n").decode()


# -- translation


@pytest.mark.parametrize(
    ("source", "lua"),
    [
        ("if a != b then c() end", "if a ~= b then c() end"),
        ("x = 'a != b & c' y = \"!=\"", "x = 'a != b & c' y = \"!=\""),
        ("x = 1 -- a & b != c", "x = 1 -- a & b != c"),
        ("--[[ a & b\n != ]] x = 1", "--[[ a & b\n != ]] x = 1"),
        ("x = [[ a & != ]]", "x = [[ a & != ]]"),
        ("--[=[ a\nx = 1", "--[=[ a\nx = 1"),
        (r"x = 'it\'s & fine'", r"x = 'it\'s & fine'"),
    ],
)
def test_only_operators_are_translated(source: str, lua: str) -> None:
    assert translate(source) == lua


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("6 & 3", 2), ("6 | 3", 7), ("6 ^^ 3", 5), ("1 << 4", 16), ("256 >> 4", 16),
        ("1 | 2 & 3 | 8", 11), ("1 + 2 & 3", 3), ("2 ^ 2 | 1", 5), ("-1 & 255", 255),
        ("(1 | 2) & (3 | 4)", 3), ("({5, 6})[1 | 2 - 1] & 4", 4), ("(function() return 5 & 4 end)() | 1", 5),
        ("6 & 3 == 2 and 9 or 8", 9), ("8 >> 1 << 1", 8), ("1 << 40", 0),
    ],
)  # fmt: skip
def test_bitwise_operators_bind_between_concatenation_and_comparison(expression: str, value: float) -> None:
    assert float(ask(make(), f"print({expression})")) == value


@pytest.mark.parametrize(
    ("script", "printed"),
    [
        ("t = {a = 1} for k, v in t do print(k, v) end", "a\t1.00000e+00\n"),
        ("t = {7, 8} for k in t do print(t[k]) end", "7.00000e+00\n8.00000e+00\n"),
        ("for k in (function() for i = 1, 2 do end return {5} end)() do print(k & 3) end", "1.00000e+00\n"),
        ("t = setmetatable({9}, {__call = function() end}) for k in t do print(k) end", "1.00000e+00\n"),
        ("for _, row in {{3}} do for _, x in row do print(x) end end", "3.00000e+00\n"),
        ("for _, x in ipairs({4}) do print(x) end for x in next, {6} do print(x) end", "4.00000e+00\n1.00000e+00\n"),
        ("for k, v in string.gfind('a1', '(%a)(%d)') do print(k .. v) end", "a1\n"),
    ],
)
def test_a_table_is_iterated_as_in_lua_50(script: str, printed: str) -> None:
    assert ask(make(), script) == printed


@pytest.mark.parametrize(
    ("script", "printed"),
    [
        ("print([[a [[b]] ]=] c]])", "a [[b]] ]=] c\n"),
        ("--[[ a\n[[ b ]]\nc ]] print(1)", "1.00000e+00\n"),
        ("n = 0 repeat local n = 3 until n == 0 print(n)", "0.00000e+00\n"),
        ("repeat for k = 1, 2 do if k == 2 then break end end break until false print(1)", "1.00000e+00\n"),
        ("function f(a, ...) return arg.n, arg[2] end print(f(1, 2, 3))", "2.00000e+00\t3.00000e+00\n"),
        ("f = function(...) return table.getn(arg), unpack(arg) end print(f('x', 'y'))", "2.00000e+00\tx\ty\n"),
        ("t = {n = 3} print(table.getn(t), unpack(t))", "3.00000e+00\tnil\tnil\tnil\n"),
        ("t = {n = 1, 5} table.insert(t, 6) table.insert(t, 1, 4) print(t.n, table.concat(t, ' '))",
         "3.00000e+00\t4 5 6\n"),
        ("t = {} table.setn(t, 2) t[5] = 1 print(table.getn(t), t.n, table.remove(t), table.getn(t))",
         "2.00000e+00\tnil\tnil\t1.00000e+00\n"),
        ("t = {3, 2, 1} table.setn(t, 2) table.sort(t) print(unpack({t[1], t[2], t[3]}))",
         "2.00000e+00\t3.00000e+00\t1.00000e+00\n"),
        ("t = {1, 2} print(table.remove(t, 1), table.remove(t), table.remove(t), table.getn(t))",
         "1.00000e+00\t2.00000e+00\tnil\t0.00000e+00\n"),
        ("t = {} for k = 1, 300 do t[k] = k end print(table.getn(t), table.concat(t, ',', 299))",
         "3.00000e+02\t299,300\n"),
        ("print(table.foreachi({5, 6, 7}, function(k, v) if v == 6 then return k end end))", "2.00000e+00\n"),
        ("print(table.foreach({a = 1}, function(k, v) return k end), math.mod(7, 3))", "a\t1.00000e+00\n"),
        ("collectgarbage() print(gcinfo() > 0)", "true\n"),
    ],
)  # fmt: skip
def test_tables_texts_and_loops_are_those_of_lua_50(script: str, printed: str) -> None:
    smu = make()
    lines = ["loadandrunscript", *script.split("\n"), "endscript"]
    assert "".join(ask(smu, line) for line in lines) == printed
    assert ask(smu, "print(errorqueue.next())").startswith("0.0")


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("x = [=[ a ]=]", -285), ("function f(...) return ... end", -285), ("x = ...", -285),
        ("x = {1} print(#x)", -285),
        ("--[[ [[ ]]", -285), ("print(('x'):len())", -286), ("print(select('#', 1))", -286),
        ("string.match('a', 'a')", -286), ("x = math.fmod(3, 2)", -286), ("table.maxn({})", -286),
        ("table.getn(3)", -286), ("table.setn({}, {})", -286), ("table.insert({}, -1e12, 1)", -286),
        ("t = {} table.setn(t, 1e12) table.sort(t)", -286), ("t = {} table.setn(t, 1e9) print(unpack(t))", -286),
    ],
)  # fmt: skip
def test_what_lua_50_does_not_have_is_refused_and_what_takes_long_is_ended(script: str, code: int) -> None:
    smu = make(instructions=100_000)
    ask(smu, script)
    assert float(ask(smu, "print(errorqueue.next())").split("\t")[0]) == code


def test_a_for_without_its_do_is_a_syntax_error() -> None:
    smu = make()
    ask(smu, "for k in t print(k) end")
    assert ask(smu, "print(errorqueue.next())").startswith("-2.85000e+02\t")


def test_exit_ends_a_script_and_is_no_error() -> None:
    smu = make()
    assert ask(smu, "print(1) pcall(function() exit() end) print(2)") == "1.00000e+00\n"
    assert ask(smu, "print(errorqueue.count)") == "0.00000e+00\n"
    assert ask(smu, "print(3)") == "3.00000e+00\n"


def test_strings_of_a_user_are_kept_listed_and_deleted() -> None:
    smu = make()
    ask(smu, "userstring.add('asset', '236') userstring.add('owner', 'Ada')")
    ask(smu, "reset()")
    assert ask(smu, "print(userstring.get('asset'), userstring.get('none'))") == "236\tnil\n"
    every = "for name in userstring.catalog() do print(name) end"
    assert sorted(ask(smu, every).splitlines()) == ["asset", "owner"]
    ask(smu, "for name in userstring.catalog() do userstring.delete(name) end")
    assert ask(smu, every) == ""
    ask(smu, "userstring.add('asset')")
    assert ask(smu, "print(errorqueue.count)") == "1.00000e+00\n"


def test_no_flash_drive_is_plugged_in_and_no_file_of_the_computer_is_reached() -> None:
    smu = make()
    assert ask(smu, "print(fs.is_dir('/usb1/'), fs.is_file('/etc/passwd'), fs.cwd())") == "false\tfalse\t/\n"
    assert ask(smu, "print(io.open('/etc/passwd'))") == "nil\t/etc/passwd: No such file or directory\t2.00000e+00\n"
    assert ask(smu, "print(table.getn(fs.readdir('/')))") == "0.00000e+00\n"
    for call in ("fs.mkdir('/usb1/x')", "savebuffer(smua.nvbuffer1, 'csv', 'x.csv')"):
        assert ask(smu, f"{call} print(errorqueue.next())").startswith("-2.56000e+02\t")


def test_the_time_of_an_instrument_is_that_of_its_clock() -> None:
    smu = make()
    assert float(ask(smu, "delay(90) print(os.time())")) == 90.0


class Clocks:
    """Clock and processor time of a thread, in s, for the budget of scripts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = self.processor = 0.0
        monkeypatch.setattr("sim_backend.emulators.tsp.vm.time.perf_counter", lambda: self.clock)
        monkeypatch.setattr("sim_backend.emulators.tsp.vm.time.thread_time", lambda: self.processor)

    def work(self, seconds: float) -> None:
        """Keep the processor busy."""
        self.clock += seconds
        self.processor += seconds


def test_only_the_processor_time_of_the_script_itself_counts_for_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(monkeypatch)
    smu = make()
    smu.lua.globals["delay"] = smu.lua.function(clocks.work)  # a command that takes the computer long
    assert ask(smu, "for k = 1, 10 do delay(15) end print(k == nil)") == "true\n"
    assert ask(smu, "print(errorqueue.count)") == "0.00000e+00\n"
    assert smu.lua._poll(0) is None
    clocks.work(19.0)  # a thousand instructions that take long
    assert smu.lua._poll(0) is None
    clocks.work(2.0)
    assert smu.lua._poll(0) == "script deadline exceeded"


def test_a_busy_computer_takes_nothing_off_the_budget_of_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(monkeypatch)
    smu = make()
    took = iter([(40.0, 0.0), (30.0, 30.0), (1.0, 1.0)])

    def delay(own: float) -> None:
        clock, processor = next(took)
        clocks.clock += clock
        clocks.processor += processor

    smu.lua.globals["delay"] = smu.lua.function(delay)
    ask(smu, "delay(0)")
    clocks.clock += 1000.0  # others are at the processor
    assert smu.lua._poll(0) is None
    clocks.work(15.0)
    assert smu.lua._poll(0) is None
    # behind the budget by the clock, commands are measured at the processor
    smu.lua.globals["delay"](0)
    assert smu.lua._poll(0) is None
    clocks.work(4.0)
    assert smu.lua._poll(0) is None
    clocks.work(2.0)
    assert smu.lua._poll(0) == "script deadline exceeded"


@pytest.mark.parametrize("kept", [1, 256])
def test_a_message_that_comes_again_is_run_anew(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim_backend.emulators.tsp.vm._KEPT", kept)
    smu = make()
    count = "local own = (own or 0) + 1 n = (n or 0) + own function f() return n & 6 end print(n)"
    assert [ask(smu, count) for _ in range(3)] == ["1.00000e+00\n", "2.00000e+00\n", "3.00000e+00\n"]
    ask(smu, "function f() return 9 end")
    assert ask(smu, "print(f())") == "9.00000e+00\n"
    ask(smu, count)
    assert ask(smu, "print(f())") == "4.00000e+00\n"
    for _ in range(2):
        assert ask(smu, "x = ") == ""
        assert ask(smu, "print(errorqueue.next())").startswith("-2.85000e+02\t")


def test_bitwise_operators_work_in_scripts_and_leave_lines_alone() -> None:
    smu = make()
    script = "local x = 7 & 3 -- & here\r\nif x != 3 then\r\nprint(0)\r\nelse print(x | 4) end"
    assert ask(smu, f"loadandrunscript\r\n{script}\r\nendscript") == "7.00000e+00\n"
    assert translate("a = 1\nb = 2 & 3\n").removeprefix(PRELUDE).count("\n") == 2
    assert ask(smu, "function f(a, b) return a | b end print(f(1 & 3, 4))") == "5.00000e+00\n"


@pytest.mark.parametrize(
    "source",
    ["x = 'open", 'x = "a\nb"', "x = [[open", "--[[ open", "x = #t", "x = 5 % 3", "x = 1 ~ 2", "x = $", "x = 1 & ",
     "x = & 2",
     "x = (1 & 2", "f(" * 400 + "1 & 2" + ")" * 400],
)  # fmt: skip
def test_what_tsp_does_not_have_is_a_syntax_error(source: str) -> None:
    lua = Lua(lambda refusal: None, OPERATORS)
    with pytest.raises(TspSyntaxError, match="at line 1: "):
        lua.compile(source)


# -- sandbox


@pytest.mark.parametrize(
    "source",
    [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "xpcall(function() while true do end end, function() while true do end end)",
        "setmetatable(_G, {__index = function() while true do end end}) print(nothing)",
        "local t = setmetatable({}, {__tostring = function() while true do end end}) print(t)",
        "repeat delay(0) until false",
        "table.sort({1, 2, 3}, function() while true do end end)",
        "string.gsub('abc', '.', function() while true do end end)",
        "string.find(string.rep('a', 40), string.rep('a?', 40) .. string.rep('a', 40) .. 'c')",
        "string.find(string.rep('a', 50000), string.rep('a-', 20) .. 'b')",
        "string.find(string.rep('(', 1e6), '%b()')",
        "string.find(string.rep('a', 2e5), string.rep('a', 1e5) .. 'b', 1, true)",
        "string.gsub(string.rep('a', 4e6), '.', '%0%0')",
    ],
)
def test_an_endless_script_ends_in_an_error(source: str) -> None:
    smu = make(instructions=200_000)
    ask(smu, source)
    answer = ask(smu, "print(errorqueue.next())")
    assert answer.startswith("-2.86000e+02\tTSP Runtime error at line 1")
    assert "instruction limit exceeded" in answer
    assert ask(smu, "print(1)") == "1.00000e+00\n"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("local s = 'x' while true do s = s .. s end", "not enough memory"),
        ("string.rep('x', 1e9)", "resulting string too large"),
        ("string.rep('', 2e9)", "resulting string too large"),
        ("string.find('', string.rep('a*', 1e6))", "pattern too long"),
        ("local s = string.rep('x', 4e6) while true do print(s) end", "output queue is full"),
        ("function f() return f() + 1 end f()", "stack overflow"),
        ("os.exit()", "call field `exit' (a nil value)"),
        ("os.remove('x')", "call field `remove' (a nil value)"),
        ("io.popen('x')", "call field `popen' (a nil value)"),
        ("require('x')", "global `require' (a nil value)"),
        ("debug.sethook()", "global `debug' (a nil value)"),
        ("python.eval('1')", "global `python' (a nil value)"),
        ("coroutine.wrap(f)()", "global `coroutine' (a nil value)"),
        ("dofile('/etc/passwd')", "global `dofile' (a nil value)"),
        ("load(f)", "global `load' (a nil value)"),
        ("getfenv(0).os.exit()", "global `getfenv' (a nil value)"),
        ("string.dump(print)", "field `dump' (a nil value)"),
        ("print(smua.reset.__globals__)", "index field `reset' (a function value)"),
        ("smua.nothing = 1", "cannot set unknown attribute `nothing'"),
        ("smua.OUTPUT_ON = 5", "cannot set read-only attribute `OUTPUT_ON'"),
        ("smua.source.compliance = true", "cannot set read-only attribute `compliance'"),
        ("smua.nothing.more = 1", "attempt to index field `nothing' (a nil value)"),
        ("x = nil + 1", "attempt to perform arithmetic on a nil value"),
        ("error('mine', 0)", "mine"),
        ("printbuffer(0/0, 1, {1})", "bad argument"),
        ("print(bit.bitand(1/0, 1))", "bad argument"),
        ("string.find('abc')", "bad argument #2"),
        ("delay()", "wrong number of arguments"),
    ],
)
def test_hostile_and_wrong_scripts_end_in_a_runtime_error(source: str, reason: str) -> None:
    smu = make()
    ask(smu, source)
    answer = ask(smu, "print(errorqueue.next())")
    assert answer.startswith("-2.86000e+02\t")
    assert reason in answer
    assert ask(smu, "print(errorqueue.count)") == "0.00000e+00\n"


@pytest.mark.parametrize(
    "source", ["\x1bLua", "x = = 1", "endscript", "for", "*NOPE?", "end", "x = & 2", "x = 1 & & 2"]
)
def test_what_does_not_parse_is_a_syntax_error(source: str) -> None:
    smu = make()
    assert ask(smu, source) == ""
    assert ask(smu, "print(errorqueue.next())").startswith("-2.85000e+02\tTSP Syntax error at line 1: ")


def test_bytecode_is_not_loaded_and_loadstring_speaks_tsp() -> None:
    smu = make()
    assert ask(smu, r"print(loadstring('\27LuaQ'))").startswith("nil\t")
    assert ask(smu, "print(loadstring('return 6 & 3')())") == "2.00000e+00\n"


def test_a_chunk_that_is_aborted_where_its_instructions_are_counted_ends_as_any_other():
    lua = Lua(lambda refusal: None, OPERATORS)

    def abort():
        lua.abort = True

    lua.globals["abort"] = lua.function(abort)
    ends = set()
    for steps in range(1000):  # after so many instructions of a chunk they are counted
        lua.abort = False
        chunk = lua.compile("abort() " + "local x = 1 " * (steps % 150) + f"for k = 1, {steps} do end")
        try:
            lua.run(chunk)
        except LuaError as error:
            ends.add(str(error))
        else:
            ends.add("")
    assert ends == {"", "at line 1: script aborted"}


def test_python_errors_of_the_emulator_itself_are_not_hidden() -> None:
    lua = Lua(lambda refusal: None, OPERATORS)

    def broken() -> None:
        raise KeyError("a fault of the emulator")

    lua.globals["broken"] = lua.function(broken)
    with pytest.raises(KeyError):
        lua.run(lua.compile("pcall(broken)"))


def test_a_refusal_does_not_end_the_script() -> None:
    refused: list[Refusal] = []
    lua = Lua(refused.append, OPERATORS)

    def refuse() -> None:
        raise Refusal(1101, "Parameter too big")

    values: list[float] = []
    lua.globals["refuse"], lua.globals["say"] = lua.function(refuse), lua.function(values.append)
    lua.run(lua.compile("refuse() say(1) refuse()"))
    assert values == [1]
    assert [r.code for r in refused] == [1101, 1101]
    with pytest.raises(LuaError, match="line 2"):
        lua.run(lua.compile("say(2)\nsay(nil + 1)"))


# -- messages


def test_pieces_of_messages_and_several_replies_in_order() -> None:
    smu = make()
    assert smu.handle(b"*ID") == b""
    assert smu.handle(b"N?\r\nprint(1)\npri") == (
        b"Keithley Instruments Inc., Model 2601B, 4000001, 3.2.2\n1.00000e+00\n"
    )
    assert smu.handle(b"nt('x')\n") == b"x\n"
    other = smu.session()
    assert other.handle(b"*opc?\n") == b"1\n"


def test_string_functions_coerce_as_lua_does() -> None:
    smu = make()
    assert ask(smu, "print((string.find('abc5', 5)), string.rep(7, 2))") == "4.00000e+00\t77\n"


def test_print_and_its_precision() -> None:
    smu = make()
    assert ask(smu, "print(1, 'a', nil, true, -1e-9)") == "1.00000e+00\ta\tnil\ttrue\t-1.00000e-09\n"
    assert ask(smu, "print()") == "\n"
    assert ask(smu, "format.asciiprecision = 16 print(1/3)") == "3.333333333333333e-01\n"
    ask(smu, "format.asciiprecision = 17")
    assert ask(smu, "print(errorqueue.next())").startswith("1.405000000000000e+03\tInvalid ASCII precision")
    assert ask(smu, "*RST print") == ""
    assert ask(smu, "print(smua.reset)").startswith("function: ")
    assert ask(smu, "print(smua)").startswith("table: ")


@pytest.mark.parametrize(("data", "order", "code"), [("REAL32", "LITTLEENDIAN", "<f"), ("REAL64", "BIGENDIAN", ">d")])
def test_binary_numbers(data: str, order: str, code: str) -> None:
    smu = make()
    reply = smu.handle(f"format.data = format.{data} format.byteorder = format.{order} printnumber(1.5, -2)\n".encode())
    assert reply == b"#0" + struct.pack(code, 1.5) + struct.pack(code, -2.0) + b"\n"
    assert ask(smu, "print(1)") == "1.00000e+00\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_scripts_are_collected_named_and_run(end: str) -> None:
    smu = make()
    text = end.join(["loadscript twice", "local n = 2 -- lines count", "print(n)", "endscript", ""])
    assert smu.handle(text.encode()) == b""
    assert ask(smu, "twice()") == "2.00000e+00\n"
    assert ask(smu, "twice.run() script.user.scripts.twice()") == "2.00000e+00\n2.00000e+00\n"
    assert smu.handle(end.join(["loadandrunscript", "print(3)", "endscript", ""]).encode()) == b"3.00000e+00\n"
    assert ask(smu, "script.run()") == "3.00000e+00\n"
    smu.handle(end.join(["loadscript bad", "", "x = = 1", "endscript", ""]).encode())
    assert "at line 2" in ask(smu, "print(errorqueue.next())")
    smu.handle(end.join(["loadscript", "print(1)", ""]).encode())
    smu.handle(b"abort\n")
    assert ask(smu, "print(4)") == "4.00000e+00\n"


def test_error_queue_order_count_clear_and_overflow() -> None:
    smu = make()
    assert ask(smu, "print(errorqueue.next())") == "0.00000e+00\tQueue Is Empty\t0.00000e+00\t1.00000e+00\n"
    ask(smu, "smua.source.limiti = 0 smua.source.levelv = 1e9")
    assert ask(smu, "print(errorqueue.count)") == "2.00000e+00\n"
    assert ask(smu, "print(errorqueue.next())").startswith("1.10200e+03\tParameter too small\t2.00000e+01")
    ask(smu, "errorqueue.clear()")
    ask(smu, "for i = 1, 50 do smua.source.limiti = 0 end")
    assert ask(smu, "for i = 1, 31 do errorqueue.next() end print(errorqueue.next())").startswith("-3.50000e+02\t")
    assert smu.world.ledger.refused == 52


def test_prompts_and_showerrors() -> None:
    smu = make()
    ask(smu, "localnode.prompts = 1")
    assert ask(smu, "print(1)") == "1.00000e+00\nTSP>\n"
    assert ask(smu, "x = = 1") == "TSP?\n"
    ask(smu, "localnode.prompts = 0 errorqueue.clear() localnode.showerrors = 1")
    assert ask(smu, "x = = 1").startswith("-285\tTSP Syntax error")


def test_common_commands_and_status() -> None:
    smu = make()
    assert ask(smu, "*opc?") == "1\n"
    ask(smu, "*ESE 32")
    ask(smu, "*SRE 32")
    ask(smu, "x = = 1")
    assert ask(smu, "*STB?") == "100\n"
    assert smu.status_byte == 4 + 32 + 64
    assert ask(smu, "*ESR?") + ask(smu, "*ESR?") == "32\n0\n"
    assert ask(smu, "*ESE?") + ask(smu, "*SRE?") == "32\n32\n"
    ask(smu, "*CLS")
    assert float(ask(smu, "print(status.condition)")) == 0
    assert ask(smu, "print(errorqueue.count)") == "0.00000e+00\n"


def test_bit_library() -> None:
    smu = make()
    assert ask(smu, "print(bit.bitand(6, 3), bit.bitor(6, 3), bit.bitxor(6, 3))") == (
        "2.00000e+00\t7.00000e+00\t5.00000e+00\n"
    )
    assert ask(smu, "print(bit.test(10, 4), bit.set(8, 1), bit.clear(15, 4), bit.getfield(13, 2, 3))") == (
        "true\t9.00000e+00\t7.00000e+00\t6.00000e+00\n"
    )


def test_introspection_walks_every_object() -> None:
    smu = make()
    walk = """loadandrunscript
    local seen, n = {}, 0
    local function walk(object)
      if seen[object] then return end
      seen[object] = true
      local mt = getmetatable(object)
      if not (mt and mt.Objects) then return end
      for name in pairs(mt.Getters) do n = n + 1 end
      for name in pairs(mt.Setters) do assert(mt.Getters[name], name) end
      for name, value in pairs(mt.Objects) do
        n = n + 1
        if type(value) == 'table' then walk(value) end
      end
    end
    walk(smua) print(n, getmetatable(smua.nvbuffer1).luatype, next(smua))
    endscript
    """
    count, kind, first = smu.handle(walk.encode()).decode().strip().split("\t")
    assert float(count) > 150
    assert (kind, first) == ("reading_buffer", "nil")
