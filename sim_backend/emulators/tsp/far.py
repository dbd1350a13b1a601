"""Instrument objects that a script of another node of TSP-Link reaches: each command and question takes its time."""

from collections.abc import Callable, Mapping
from typing import Any

from sim_backend.emulators.tsp.vm import Lua, is_lua

_Call = Callable[..., Any]


class FarLua:
    """An interpreter for the objects of another instrument.

    Args:
        lua: the interpreter.
        pay: lets the time of one command over the link pass.
    """

    def __init__(self, lua: Lua, pay: Callable[[], None]) -> None:
        self.lua, self._pay = lua, pay

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lua, name)

    def node(
        self,
        kind: str,
        *,
        get: Mapping[Any, _Call] | None = None,
        set: Mapping[Any, _Call] | None = None,
        objects: Mapping[str | int, Any] | None = None,
        thing: Any = None,
    ) -> Any:
        """Return an instrument object whose attributes and methods take the time of the link; see `Lua.node`."""
        return self.lua.node(
            kind,
            get={name: self._far(call) for name, call in (get or {}).items()},
            set={name: self._far(call) for name, call in (set or {}).items()},
            objects={
                name: self._far(value) if callable(value) and not is_lua(value) else value
                for name, value in (objects or {}).items()
            },
            thing=thing,
        )

    def _far(self, call: _Call) -> _Call:
        def far(*arguments: Any) -> Any:
            self._pay()
            return call(*arguments)

        return far
