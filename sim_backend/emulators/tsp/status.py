"""Status registers of TSP instruments as instrument objects."""

from collections.abc import Callable
from typing import Any

from sim_backend.emulators.registers import Register
from sim_backend.emulators.tsp.far import FarLua
from sim_backend.emulators.tsp.vm import Lua, number


def register_node(register: Register, lua: "Lua | FarLua") -> Any:
    """Return a register as an instrument object, with those below it and the names of its bits."""

    def mask(name: str) -> Callable[[Any], None]:
        return lambda value: setattr(register, name, int(number(value)) & 0x7FFF)

    masks = ("enable", "ptr", "ntr")
    objects: dict[str | int, Any] = {name: register_node(child, lua) for name, child in register.children.items()}
    objects.update(register.constants)
    return lua.node(
        "status_register",
        get={
            "condition": register.condition,
            "event": register.event,
            **{name: (lambda name=name: getattr(register, name)) for name in masks},
        },
        set={name: mask(name) for name in masks},
        objects=objects,
    )
