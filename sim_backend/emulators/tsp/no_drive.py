"""`fs`, `io` and `savebuffer` of a TSP instrument into which no USB flash drive is plugged.

Names: Series 2600B reference manual (2600BS-901-01), the commands `fs` and `io`, and the factory script KISavebuffer.
Scripts ask whether the drive is there, and go on without it.
[?] Codes and texts of what is refused without a drive are those of a setup that is not found there.
"""

from typing import Any

from sim_backend.emulators.tsp.vm import Lua, Refusal

_MISSING = "No such file or directory"
_NO_FILE = 2


def _refused(*_: Any) -> None:
    raise Refusal(-256, "File name not found")


def drive_objects(lua: Lua) -> dict[str, Any]:
    """Return the globals by their names."""
    nothing = lua.function(lambda *_: False)
    refused = lua.function(_refused)
    files = {
        "is_dir": nothing, "is_file": nothing, "cwd": lua.function(lambda *_: "/"),
        "readdir": lua.function(lambda *_: lua.table({})), "chdir": refused, "mkdir": refused, "rmdir": refused,
    }  # fmt: skip
    streams = {"open": lua.function(lambda name, *_: (None, f"{lua.text(name)}: {_MISSING}", _NO_FILE))}
    return {"fs": lua.table(files), "io": lua.table(streams), "savebuffer": refused}
