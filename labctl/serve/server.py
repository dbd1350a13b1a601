"""Serve the page on a socket until ^C: at which address, and with or without a token."""

import contextlib
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from labctl.core.errors import BenchError
from labctl.serve.access import Access, is_loopback
from labctl.serve.run_list import RunList
from labctl.serve.token_file import new_token, token_in
from labctl.storage.no_run import no_run

EXTRA = "labctl serve needs the extra: pip install 'mtj-labctl[serve]'"
_CONNECTIONS = 64
"""Most connections at once; more are answered with 503."""
_KEPT = 30
"""Time after which a connection without requests is closed, s."""
_LEAVE = 2
"""Time that answers under way have once the page is ended, s."""


def uvicorn() -> Any:
    """Return uvicorn; BenchError if the extra is not installed."""
    try:
        import starlette
        import uvicorn
    except ImportError as error:
        raise BenchError(EXTRA) from error
    del starlette
    return uvicorn


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at a host and a port, 0 for a free one; BenchError if that is not possible."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=128)
    except (OSError, UnicodeError) as error:  # the second: what can be no name of a computer
        why = "that is no name of a computer" if isinstance(error, UnicodeError) else error.strerror or error
        raise BenchError(
            f"{host} port {port} cannot be listened at: {why}; expected an address of this "
            "computer and a free port, such as --host 127.0.0.1 --port 0"
        ) from error


def others() -> list[str]:
    """Return the addresses of this computer that others may reach, those of IPv4."""
    every = (one.address for at in psutil.net_if_addrs().values() for one in at if one.family == socket.AF_INET)
    return [address for address in every if not is_loopback(address)]


def shown(address: str) -> str:
    """Return an address as it is typed into a browser; of one that stands for all of this computer, another one."""
    if ipaddress.ip_address(address).is_unspecified:
        return next(iter(others()), address)
    return f"[{address}]" if ":" in address else address


def serve(
    root: Path,
    say: Callable[[str], None],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    names: Sequence[str] = (),
    token_file: Path | None = None,
    on_terminal: bool = False,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the page of the runs in `root` until ^C.

    Args:
        say: called with lines for the operator.
        names: other names by which a browser may ask for the page.
        token_file: file with the token, made if it is not there.
        on_terminal: `say` writes to a terminal, so that a token that is said there gets into no log.
        ready: called with the address once the page answers.

    Raises:
        BenchError: the extra is missing, the address is not to be had, or the token would get into a log.
        NotThereError: there is no folder at `root`.
    """
    server = uvicorn()
    from labctl.serve import run_parts
    from labctl.serve.app import application

    if not root.is_dir():
        raise no_run(root, "a run folder, or a folder of run folders")
    with contextlib.closing(listen(host, port)) as listening:
        address, number = listening.getsockname()[:2]
        token = token_in(token_file) if token_file is not None else ""
        if not token and not is_loopback(address):
            if not on_terminal:
                raise BenchError(
                    f"{host} is reached from other computers, and the output of this command is no terminal: the token "
                    "would get into a log; expected --token-file FILE"
                )
            token = new_token()
        url = f"http://{shown(address)}:{number}/"
        say(f"{root}: {url}")
        if token_file is not None:
            say(f"the token is in {token_file}")
        elif token:
            say(f"with the token, which is said only here: {url}#token={token}")
        if not is_loopback(address):
            say("nothing is encrypted: in a network that others share, use ssh -L instead (docs/from-elsewhere.md)")
        run_parts.prepare()
        config = server.Config(
            application(RunList(root), Access.of(address, names, token)),
            log_level="error", access_log=False, server_header=False, lifespan="off", ws="none", interface="asgi3",
            limit_concurrency=_CONNECTIONS, timeout_keep_alive=_KEPT, timeout_graceful_shutdown=_LEAVE, loop="asyncio",
            http="h11",
        )  # fmt: skip
        ready(url)
        with _ending():
            server.Server(config).run(sockets=[listening])


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    """Let ^C and TERM end the page only: uvicorn, once it has ended, sends them again to whoever had them before."""
    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, lambda *_: None) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
