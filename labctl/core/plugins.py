"""Plug-ins: objects that installed distributions register under entry point groups, ours like everybody's.

A group is looked up by name, and nothing is imported before it is asked for by name. Whatever a plug-in raises while it
is loaded is reported with its entry point and its distribution.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from traceback import walk_tb
from typing import Any

from labctl.core.errors import BenchError, LabError

DISTRIBUTION = "mtj-labctl"
"""The distribution of this suite."""
PROTOCOLS = "labctl.protocols"
"""Entry point group of protocols: subclasses of `labctl.core.procedure.Procedure`."""
INSTRUMENTS = "labctl.instruments"
"""Entry point group of drivers: objects of `labctl.core.driver.Driver`."""
EMULATORS = "labctl.emulators"
"""Entry point group of emulated instruments: functions as `sim_backend.emulators.context.Emulate`."""
INPUTS = "labctl.inputs"
"""Entry point group of what stages name as files: objects of `labctl.core.inputs.InputReader`."""
BODIES = "labctl.bodies"
"""Entry point group of bodies: boards, as `labctl.core.driver.Driver`, and ours, which files describe: simulated dies
by their kind, and the die that instruments add up to."""
API_GROUP = "labctl.api"
"""Entry point group in which a distribution of plug-ins names the version of the interface that it is written for."""
API = 1
"""Version of the interface of plug-ins; a distribution that names none is written for the first."""
GROUPS = (PROTOCOLS, INPUTS, INSTRUMENTS, EMULATORS, BODIES, API_GROUP)


@dataclass(frozen=True)
class Plugin:
    """One registered object, not loaded yet.

    Args:
        group: entry point group.
        name: of the entry point.
        value: module and object, as the distribution writes it.
        distribution, version: of the distribution; both may be empty.
    """

    group: str
    name: str
    value: str
    distribution: str = ""
    version: str = ""

    @property
    def foreign(self) -> bool:
        """Whether another distribution registers it."""
        return _normalised(self.distribution) != DISTRIBUTION

    @property
    def origin(self) -> str:
        """Distribution and version, or else the entry point, in operator words."""
        return f"{self.distribution} {self.version}".strip() or self.value

    def load(self) -> Any:
        """Import the module and return the object; BenchError names entry point and distribution.

        A distribution that is written for another version of the interface is not imported.
        """
        if self.foreign and (versions := apis_of(self.distribution)) and str(API) not in versions:
            raise BenchError(
                f"'{self.name}' of {self.origin} ({self.group}) is written for version {', '.join(versions)} of the "
                f"interface of plug-ins, and this labctl has {API}; install a version of {self.distribution} for it"
            )
        try:
            return EntryPoint(self.name, self.value, self.group).load()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            raise BenchError(
                f"'{self.name}' of {self.origin} ({self.group}: {self.value}) cannot be loaded: "
                f"{type(error).__name__}: {error}{line_of(error, self.value)}"
            ) from error


def line_of(error: BaseException, value: str) -> str:
    """Return the line of a plug-in's own code at which an exception was raised or passed, as " (file.py:12)".

    Args:
        value: module of the plug-in, with or without an object behind a colon; "" is returned where none of its files
            took part.
    """
    name_of_module = value.partition(":")[0].strip()
    top = name_of_module.partition(".")[0]
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == top]
    files = {getattr(module, "__dict__", {}).get("__file__") for module in modules}
    try:  # a module that failed to load is not among them
        spec = find_spec(name_of_module)
        files.add(None if spec is None else spec.origin)
    except (ImportError, AttributeError, ValueError):
        pass
    own = [(f.f_code.co_filename, line) for f, line in walk_tb(error.__traceback__) if f.f_code.co_filename in files]
    return f" ({Path(own[-1][0]).name}:{own[-1][1]})" if own else ""


def apis_of(distribution: str) -> tuple[str, ...]:
    """Return the versions of the interface that a distribution is written for; none if it does not say."""
    own = (plugin.name for plugin in registered(API_GROUP) if plugin.distribution == distribution)
    return tuple(dict.fromkeys(own))


@cache
def registered(group: str) -> tuple[Plugin, ...]:
    """Return all objects registered under `group`, by name and then by distribution. Nothing is imported."""
    plugins = (
        Plugin(group, entry.name, entry.value, *((entry.dist.name, entry.dist.version) if entry.dist else ("", "")))
        for entry in entry_points(group=group)
    )
    return tuple(sorted(plugins, key=lambda plugin: (plugin.name, plugin.distribution)))


def installed(group: str) -> Mapping[str, Plugin]:
    """Return the plug-ins of `group` by name; BenchError if two distributions register one name."""
    plugins: dict[str, Plugin] = {}
    for plugin in registered(group):
        other = plugins.setdefault(plugin.name, plugin)
        if other is not plugin:
            only((other, plugin))
    return plugins


def only(plugins: Sequence[Plugin]) -> Plugin:
    """Return the only one of the plug-ins of one name; BenchError if there are several."""
    first, *others = plugins
    if others:
        both = f"{first.origin} and by {others[0].origin}"
        raise BenchError(f"'{first.name}' ({first.group}) is registered by {both}; uninstall one of them")
    return first


@contextmanager
def strangers_errors(group: str, name: str) -> Iterator[None]:
    """Name the distribution of the plug-in `name` in whatever it raises, if another distribution registers it.

    Raises:
        BenchError: instead of an exception that is no LabError, with the exception as its cause.
    """
    try:
        yield
    except LabError:
        raise
    except (Exception, SystemExit) as error:
        foreign = next((plugin for plugin in registered(group) if plugin.name == name and plugin.foreign), None)
        if foreign is None:
            raise
        raise BenchError(
            f"'{name}' of {foreign.origin}, which is not part of this suite, failed: {type(error).__name__}: {error}"
            f"{line_of(error, foreign.value)}"
        ) from error


def find(group: str, name: str) -> Plugin:
    """Return the plug-in `name` of `group`; BenchError lists those that are installed and the nearest name."""
    plugins = installed(group)
    if name not in plugins:
        near = get_close_matches(name, plugins, 1, 0.6)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise BenchError(f"'{name}' is not installed ({group}); there are {', '.join(plugins) or 'none'}{hint}")
    return plugins[name]


def _normalised(distribution: str) -> str:
    """Return the name of a distribution as it is compared.

    >>> _normalised("mtj_labctl")
    'mtj-labctl'
    """
    return re.sub(r"[-_.]+", "-", distribution).lower()
