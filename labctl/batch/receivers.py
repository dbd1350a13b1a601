"""Deliver a message: to the operator's own command, and to whoever has a tag in apprise's configuration.

Addresses, passwords and tokens stand in a configuration file of apprise, outside of campaigns and runs. Nothing that
apprise says about a failure is passed on from here, since it may quote an address: a run names the service only. Our
own lines are the command, which apprise does not have, and that failed deliveries are raised instead of logged.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from labctl.config.notify import Notify
from labctl.core.errors import BenchError
from labctl.core.secrets import without_addresses
from labctl.core.units import Second

VARIABLE = "LABCTL_NOTIFY"
"""Environment variable with the path of apprise's configuration file."""
FILE = "notify.yaml"
"""Its name in the configuration folder of a user or of all users."""
TEXT = 4000
"""Characters of a text in an environment variable; systems limit the size of environments."""
_TITLES = {"alarm": "alarm", "die": "a die is finished", "stop": "the run stopped", "end": "the run has ended"}
_TYPES = {"alarm": "warning", "die": "info", "stop": "failure", "end": "success"}
Message = dict[str, Any]


class DeliveryError(Exception):
    """A try failed: why, and whether another try could succeed."""

    def __init__(self, why: str, *, again: bool = True) -> None:
        super().__init__(why)
        self.again = again


@dataclass(frozen=True)
class Receiver:
    """A receiver by the name that a run knows it by, without any part of its address.

    Args:
        deliver: delivers a message or raises `DeliveryError`.
    """

    name: str
    deliver: Callable[[Message], None]


def receivers(notify: Notify | None, environment: Mapping[str, str] = os.environ) -> list[Receiver]:
    """Return the receivers that a campaign names; none without `notify`. Sends nothing.

    Raises:
        BenchError: the command cannot be executed, there is no configuration, or nobody in it has the tag.
    """
    if notify is None:
        return []
    named: list[Receiver] = []
    if notify.command is not None:
        if shutil.which(notify.command[0]) is None:
            raise BenchError(f"notify: the command '{notify.command[0]}' is not there, or may not be executed")
        named.append(Receiver(f"command {notify.command[0]}", partial(run_command, notify.command, notify.timeout)))
    if notify.tag is not None:
        named += tagged(notify.tag, configuration_file(environment))
    return named


def configuration_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the configuration file of apprise: the one that `VARIABLE` names, the user's, or that of all users.

    Raises:
        BenchError: there is none.
    """
    if named := environment.get(VARIABLE):
        path = Path(named).expanduser()
        if not path.is_file():
            instead = "which is a folder" if path.is_dir() else "and there is no such file"
            raise BenchError(f"notify: {VARIABLE} names {path}, {instead}; expected a configuration file of apprise")
        return path
    from platformdirs import site_config_path, user_config_path

    name = "mtj-labctl"
    places = [folder / FILE for folder in (user_config_path(name, False), site_config_path(name, False))]
    for place in places:
        if place.is_file():
            return place
    raise BenchError(
        f"notify: a tag is named, and there is no file with addresses; expected {places[0]}, {places[1]}, "
        f"or another one that {VARIABLE} names"
    )


def tagged(tag: str, path: Path) -> list[Receiver]:
    """Return a receiver for every address with `tag` in a configuration file of apprise, which is imported here.

    Raises:
        BenchError: the file cannot be read, has an entry that apprise does not understand, or has nobody of that tag.
    """
    try:
        if not path.read_bytes().strip():
            raise BenchError(f"notify: {path} is empty; expected addresses with their tags, as apprise reads them")
    except OSError as error:
        raise BenchError(
            f"notify: {path} cannot be read: {error.strerror or error}; expected a configuration file of apprise"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its many services import is deprecated here and there
        import apprise

        logger = logging.getLogger("apprise")
        if not logger.handlers:  # the screen is the run's, and what is logged may quote an address
            logger.addHandler(logging.NullHandler())
            logger.propagate = False
        # in the thread that asks, with the timeouts of its requests: threads of apprise would outlive the run
        asset = apprise.AppriseAsset(
            app_id="mtj-labctl", async_mode=False, service_timeout=0.0, body_format="text", http_redirects=False
        )
        with apprise.LogCapture(level=logging.WARNING) as problems:  # type: ignore[no-untyped-call]
            book = apprise.Apprise(asset=asset)
            configuration = apprise.AppriseConfig(asset=asset, recursion=1)
            configuration.add(f"file://{quote(str(path.absolute()))}")
            book.add(configuration)
            services = list(book.find(tag=tag))
    if problems.getvalue():
        raise BenchError(
            f"notify: apprise does not understand all of {path}; to see what: "
            f"apprise --dry-run -vv --config={path} --tag={tag} --body=test"
        )
    if not services:
        tags = sorted({str(each) for service in book.find() for each in service.tags})
        raise BenchError(f"notify: nobody in {path} has the tag '{tag}'; tags there: {', '.join(tags) or 'none'}")
    names, count = Counter(str(service.service_name) for service in services), Counter[str]()
    made = []
    for service in services:
        kind = str(service.service_name)
        count[kind] += 1
        one = apprise.Apprise(asset=asset)
        one.add(service)
        number = f" {count[kind]}" if names[kind] > 1 else ""
        made.append(Receiver(f"{kind}{number} with the tag {tag}", partial(_notify, one)))
    return made


def _notify(one: Any, message: Message) -> None:
    """Deliver a message to the one service of an Apprise object."""
    try:
        taken = one.notify(
            title=f"labctl: {_TITLES.get(message['event'], message['event'])}",
            body=f"{message['text']}\n{message['folder']} on {message['host']}, {message['utc']}",
            notify_type=_TYPES.get(message["event"], "info"),
        )
    except Exception as error:  # of any kind; its text may quote the address
        raise DeliveryError(f"apprise failed ({type(error).__name__})") from None
    if not taken:
        raise DeliveryError("it did not take the message")


def run_command(command: tuple[str, ...], timeout: Second, message: Message) -> None:
    """Pass a message to a command: as JSON on its standard input, event and text in its environment, too.

    Raises:
        DeliveryError: it cannot be started, fails, or does not end within `timeout` s; then it is killed.
    """
    variables = {"LABCTL_EVENT": message["event"], "LABCTL_TEXT": message["text"].replace("\0", "")[:TEXT]}
    # to a file: a process that the command started and left behind could keep a pipe open for ever
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, **variables},
                start_new_session=True,
            )
        except OSError as error:
            raise DeliveryError(f"it cannot be started: {error.strerror or error}", again=False) from error
        with process:
            try:
                process.communicate(json.dumps(message).encode() + b"\n", timeout=timeout)
            except subprocess.TimeoutExpired:
                _kill(process)
                raise DeliveryError(f"it did not end within {timeout:g} s") from None
        if process.returncode:
            errors.seek(0)
            lines = errors.read(1 << 16).decode(errors="replace").strip().splitlines()
            last = without_addresses(lines[-1]) if lines else ""
            raise DeliveryError(f"exit code {process.returncode}{last and ': '}{last}")


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a command and, where it has a session of its own, the processes it started."""
    if sys.platform == "win32":
        process.kill()
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
