"""Serve the board on which this runs.

    python3 -m daffodil --serial 17 [--host ADDRESS] [--port 5025]

Initialises the board, brings it to rest and answers lines over TCP. INT and TERM bring it to rest and end.
"""

import argparse
import signal
import socketserver
import sys
import threading
import time
from types import FrameType
from typing import List, Optional

from .engine import Engine
from .hardware import Hardware, LinuxHardware
from .proof import Fault
from .service import Service

LONGEST_LINE = 4 << 20
"""Bytes."""
POLL = 0.1
"""Seconds between two looks at the lease."""


class Server(socketserver.ThreadingTCPServer):
    """The service on a socket, with a thread that watches the lease."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, host: str, port: int, service: Service) -> None:
        super().__init__((host, port), _Connection)
        self.service = service
        self._ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._ended.wait(POLL):
            self.service.watch()

    def server_close(self) -> None:
        """Stop listening and watching."""
        self._ended.set()
        super().server_close()


class _Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        assert isinstance(self.server, Server)
        while True:
            line = self.rfile.readline(LONGEST_LINE)
            if not line.endswith(b"\n"):
                return
            answer = self.server.service.handle(line.decode("latin-1"))
            self.wfile.write(answer.encode("ascii", "replace") + b"\n")


def main(arguments: Optional[List[str]] = None, hardware: Optional[Hardware] = None) -> int:
    """Serve until a signal; return the exit code, 1 if the board cannot be brought to rest."""
    parser = argparse.ArgumentParser(prog="daffodil", description="Serve the Daffodil board of this computer.")
    parser.add_argument("--serial", required=True, help="serial number of the board, which clients may pin")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; no password is asked for")
    parser.add_argument("--port", type=int, default=5025)
    given = parser.parse_args(arguments)
    try:
        board = hardware or LinuxHardware()
        engine = Engine(board)
        engine.initialise()
    except (Fault, OSError) as error:
        print(f"daffodil: the board is NOT at rest: {error}", file=sys.stderr)
        return 1
    service = Service(engine, given.serial, board.now, f"{time.time_ns():x}-")
    with Server(given.host, given.port, service) as server:

        def end(number: int, frame: Optional[FrameType]) -> None:
            threading.Thread(target=server.shutdown, daemon=True).start()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        print(f"daffodil: at rest, listening at {given.host} port {server.server_address[1]}", flush=True)
        server.serve_forever(POLL)
    answer = service.end()
    print(f"daffodil: {answer}", flush=True)
    return 0 if answer.startswith("SAFE") else 1


if __name__ == "__main__":
    sys.exit(main())
