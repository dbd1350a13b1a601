"""The front panel of a 2600B: the text of its user screen, who stands before it, and its saved setups.

Names, constants and examples: Series 2600B reference manual, the commands `display` and `setup`. The operator of a
twin presses ENTER at once: a prompt has its default, a menu its first item. TRIG is pressed as soon as the instrument
waits for it, in `display.trigger.wait` and in `waitcomplete`; nobody chooses from the menu of `display.loadmenu`.
[?] Which blanks `gettext` returns at the end of a line, the key code of ENTER, and what a setup is that was never
saved, the manual does not say.
"""

from collections.abc import Callable
from typing import Any

from sim_backend.emulators.tsp.vm import Lua, Refusal, number, whole

WIDTHS = (20, 32)
"""Characters of the upper and of the lower line."""
SMUA, SMUB, SMUA_SMUB, USER = range(4)
"""Screens."""
KEYS: dict[str | int, Any] = {"KEY_NONE": 0, "KEY_MENU": 68, "KEY_EXIT": 75, "KEY_ENTER": 82, "KEY_MEASA": 86}
"""Codes of the keys that the manual's examples name, and of ENTER."""
ANNUNCIATORS = (
    "FILTER", "MATH", "4_WIRE", "AUTO", "ARM", "TRIGGER", "STAR", "SAMPLE", "EDIT", "ERROR", "REMOTE", "TALK", "LISTEN",
    "SRQ", "REAR", "REL",
)  # fmt: skip
"""Indicators, from bit 0."""
SETUPS = range(6)
"""Places of setups; 0 has the factory defaults."""

_NORMAL = "R"


class UserScreen:
    """Two lines of characters, each with its look (`R` normal, `B` blinking, `D` dim, `F` background blinking)."""

    def __init__(self) -> None:
        self._touched = False
        self.clear()
        self._lines[0][: len("User Screen")] = [(c, _NORMAL) for c in "User Screen"]
        self._touched = False

    def clear(self) -> None:
        """Blank both lines; the cursor goes to the first column of the first."""
        self._lines = [[(" ", _NORMAL)] * width for width in WIDTHS]
        self.row, self.column, self.style, self._touched = 1, 1, 0, True

    def set_cursor(self, row: float, column: float, style: float = 0) -> None:
        """Place the cursor; what is out of range is the last row, the last column, and invisible."""
        self.row = int(row) if row in (1, 2) else 2
        width = WIDTHS[self.row - 1]
        self.column = int(column) if 1 <= column <= width else width
        self.style = int(style) if style in (0, 1) else 0

    def write(self, text: str) -> None:
        """Write at the cursor; `$N` goes to the second line, other codes change the look; what does not fit is lost."""
        if not self._touched:
            row, column, style = self.row, self.column, self.style
            self.clear()
            self.row, self.column, self.style = row, column, style
        look, characters = _NORMAL, iter(text)
        for character in characters:
            if character == "$":
                code = next(characters, "$")
                if code == "N":
                    self.row, self.column = 2, 1
                    continue
                if code in "RBDF":
                    look = code
                    continue
                character = code
            line = self._lines[self.row - 1]
            if self.column <= len(line):
                line[self.column - 1] = (character, look)
                self.column += 1
        self.column = min(self.column, WIDTHS[self.row - 1])

    def read(self, row: int, first: int, last: int, *, embellished: bool) -> str:
        """Return columns of a line, with codes of looks if `embellished`; the second without blanks at its end."""
        cells = self._lines[row - 1]
        if row == len(WIDTHS):
            filled = [k for k, (character, _) in enumerate(cells) if character != " "]
            cells = cells[: filled[-1] + 1 if filled else 0]
        text, before = "", ""
        for character, look in cells[first - 1 : last]:
            if embellished and look != before:
                text, before = f"{text}${look}", look
            text += "$$" if embellished and character == "$" else character
        return text


class FrontPanel:
    """The display of an instrument and what its keys have done.

    Args:
        in_error: whether the error queue has an entry.
    """

    def __init__(self, in_error: Callable[[], bool]) -> None:
        self._in_error = in_error
        self.user, self.screen, self.lockout, self.numpad, self.last_key = UserScreen(), SMUA, 0, 0, 0
        self.menu: dict[str, str] = {}
        """Entries of the menu of user tests: their names and code."""

    def node(self, lua: Lua, below: dict[str | int, Any]) -> Any:
        """Return `display`, with the objects `below` beside its own."""

        def attribute(name: str, most: int) -> tuple[Callable[[], int], Callable[[Any], None]]:
            return lambda: getattr(self, name), lambda value: setattr(self, name, whole(value, most))

        attributes = {
            "screen": attribute("screen", USER),
            "locallockout": attribute("lockout", 1),
            "numpad": attribute("numpad", 1),
        }
        objects: dict[str | int, Any] = {
            "clear": lambda *_: self._on_user_screen(self.user.clear),
            "setcursor": lambda *v: self._on_user_screen(lambda: self.user.set_cursor(*(number(x) for x in v[:3]))),
            "settext": lambda text, *_: self._on_user_screen(lambda: self.user.write(_text(text))),
            "getcursor": self._cursor,
            "gettext": self._read,
            "getannunciators": lambda *_: sum(1 << ANNUNCIATORS.index(name) for name in self._lit()),
            "getlastkey": lambda *_: self.last_key,
            "sendkey": lambda key, *_: setattr(self, "last_key", whole(key, 255)),
            "waitkey": lambda *_: self._enter(KEYS["KEY_ENTER"]),
            "menu": lambda name, items, *_: self._enter(next(iter(_text(items).split()), None)),
            "inputvalue": lambda form, *v: self._value(form, *v),
            "prompt": lambda form, units, help_text, *v: self._value(form, *v),
            "SMUA": SMUA, "SMUB": SMUB, "SMUA_SMUB": SMUA_SMUB, "USER": USER, "LOCK": 1, "UNLOCK": 0, "ENABLE": 1,
            "DISABLE": 0,
        }  # fmt: skip
        objects |= KEYS
        objects["loadmenu"] = lua.node(
            "display_loadmenu",
            objects={"add": self._add_entry, "delete": self._delete_entry, "catalog": lambda *_: self._entries(lua)},
        )
        objects |= {"SAVE": 1, "DONT_SAVE": 0}
        objects |= {f"ANNUNCIATOR_{name}": 1 << k for k, name in enumerate(ANNUNCIATORS)}
        return lua.node(
            "display",
            get={name: get for name, (get, _) in attributes.items()},
            set={name: put for name, (_, put) in attributes.items()},
            objects={**objects, **below},
        )

    def _add_entry(self, name: Any, code: Any, memory: Any = None, *_: Any) -> None:
        """Add a name of the menu with its code; whether it is kept over the power cycle makes no difference here."""
        if memory is not None:
            whole(memory, 1)
        self.menu[_text(name)] = _text(code)

    def _delete_entry(self, name: Any, *_: Any) -> None:
        if self.menu.pop(_text(name), None) is None:
            raise Refusal(-292, "Referenced name does not exist")

    def _entries(self, lua: Lua) -> Any:
        """Return an iterator over names and code for a loop of Lua."""
        entries = iter(list(self.menu.items()))
        return lua.function(lambda *_: next(entries, None))

    def _on_user_screen(self, act: Callable[[], None]) -> None:
        self.screen = USER
        act()

    def _cursor(self, *_: Any) -> tuple[int, int, int]:
        self.screen = USER
        return self.user.row, self.user.column, self.user.style

    def _read(self, embellished: Any = None, row: Any = None, first: Any = None, last: Any = None, *_: Any) -> str:
        looks = bool(embellished)
        if row is None:
            return "$N".join(self.user.read(k, 1, width, embellished=looks) for k, width in enumerate(WIDTHS, 1))
        line = whole(row, len(WIDTHS), 1)
        width = WIDTHS[line - 1]
        begin = 1 if first is None else whole(first, width, 1)
        return self.user.read(line, begin, width if last is None else whole(last, width, 1), embellished=looks)

    def _lit(self) -> list[str]:
        """Return the indicators that are on: it is in remote operation, and has errors or not."""
        return ["REMOTE", *(["ERROR"] if self._in_error() else [])]

    def _enter(self, answer: Any) -> Any:
        """Return what the operator has chosen by ENTER."""
        self.last_key = KEYS["KEY_ENTER"]
        return answer

    def _value(self, form: Any, default: Any = None, least: Any = None, most: Any = None, *_: Any) -> float:
        """Return the value of an input field whose operator presses ENTER: its default, else 0 or what is nearest."""
        if not set(_text(form)) & set("0"):
            raise Refusal(-104, "Data type error")
        low, high = -1e37 if least is None else number(least), 1e37 if most is None else number(most)
        value = 0.0 if default is None else number(default)
        if not low <= high or (default is not None and not low <= value <= high):
            raise Refusal(1101, "Parameter too big") if value > high else Refusal(1102, "Parameter too small")
        return float(self._enter(min(max(value, low), high)))


class Setups:
    """Saved setups: `setup.save`, `setup.recall` and which one the instrument begins with.

    Args:
        reset: resets the instrument.
        snapshot: returns what puts the present settings back.
    """

    def __init__(self, reset: Callable[[], None], snapshot: Callable[[], Callable[[], None]]) -> None:
        self._reset, self._snapshot, self.power_on = reset, snapshot, 0
        self._saved: dict[int, Callable[[], None]] = {}

    def node(self, lua: Lua) -> Any:
        """Return `setup`."""
        return lua.node(
            "setup",
            get={"poweron": lambda: self.power_on},
            set={"poweron": lambda value: setattr(self, "power_on", whole(value, SETUPS[-1]))},
            objects={"save": self._save, "recall": self._recall},
        )

    def _save(self, place: Any, *_: Any) -> None:
        self._saved[self._place(place, 1)] = self._snapshot()

    def _recall(self, place: Any, *_: Any) -> None:
        """Reset, then put back what was saved; a place that was never saved to has the factory defaults."""
        put_back = self._saved.get(self._place(place, 0))
        self._reset()
        if put_back is not None:
            put_back()

    def _place(self, place: Any, least: int) -> int:
        if isinstance(place, str):
            raise Refusal(-256, "File name not found")  # no flash drive is plugged in
        return whole(place, SETUPS[-1], least)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Refusal(-104, "Data type error")
    return value
