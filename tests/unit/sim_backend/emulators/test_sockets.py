"""Garbage at every port of a server: bytes at random, and messages of its protocols with bytes changed or cut off.

What a stranger sends ends his own connection at most; a thread that raised would fail the test.
"""

import contextlib
import random
import re
import socket
import struct

import pytest

from sim_backend.emulators import hislip, rpc, vxi11
from sim_backend.emulators.serve import Bus, Served, Server, Serving, Way
from sim_backend.emulators.sockets import send_all
from tests.talker import Talker
from tests.waiting import PATIENCE

CALL = rpc.words(1, 0, 2, vxi11.CORE, 1)
SOUND = {
    "socket": [b"*IDN?\n", b":LEVEL 1;:LEVEL?\n"],
    "hislip": [
        hislip.HEADER.pack(b"HS", hislip.INITIALIZE, 0, 0x01000000, 7) + b"hislip0",
        hislip.HEADER.pack(b"HS", hislip.DATA_END, 0, 2, 6) + b"*IDN?\n",
    ],
    "vxi11": [
        struct.pack(">I", 1 << 31 | len(body)) + body
        for body in (
            CALL + rpc.words(vxi11.CREATE_LINK, 0, 0, 0, 0, 7, 0, 10) + rpc.opaque(b"inst0"),
            CALL + rpc.words(vxi11.WRITE, 0, 0, 0, 0, 1, 10, 10, 8) + rpc.opaque(b"*IDN?\n"),
            CALL + rpc.words(vxi11.READ, 0, 0, 0, 0, 1, 100, 1, 1, 0, 0),
        )
    ],
    "portmapper": [
        rpc.words(1 << 31 | 56, 1, 0, 2, rpc.PORTMAPPER, 2, rpc.GET_PORT, 0, 0, 0, 0, vxi11.CORE, 1, rpc.TCP, 0)
    ],
    "gateway": [b"++addr 24\n++read_tmo_ms 1\n", b"*IDN?\n++read eoi\n", b"++spoll\n\x1b+\x1b\n++eos 3\n++auto 0\n"],
}


def port_of(served: Served, way: str) -> int:
    return (
        int(re.findall(r"[,:](\d{4,5})(?=::|$)", str(getattr(served, way)))[-1])
        if way != "portmapper"
        else (served.portmapper)
    )


def garbage(dice: random.Random, sound: list[bytes]) -> bytes:
    """Return bytes at random, or sound messages with some changed, and cut off."""
    if dice.random() < 0.2:
        return dice.randbytes(dice.randrange(1, 60))
    data = bytearray(b"".join(sound[: dice.randint(1, len(sound))]))
    for _ in range(dice.randint(1, 3)):
        data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data[: dice.randint(1, len(data))] if dice.random() < 0.3 else data)


@pytest.mark.parametrize("way", SOUND)
def test_whatever_a_stranger_sends_the_next_client_is_served(way: str) -> None:
    dice, talker = random.Random(way), Talker()
    serving = {"talker": Serving((Way.VXI11,))}
    with Server([talker], serving, [Bus({"talker": "24"})]) as server:
        (served,) = server.served
        for _ in range(30):
            stranger = socket.create_connection(("127.0.0.1", port_of(served, way)), PATIENCE)
            with stranger, contextlib.suppress(OSError):
                send_all(stranger, garbage(dice, SOUND[way]))
                stranger.shutdown(socket.SHUT_WR)
                while stranger.recv(4096):
                    pass
        with socket.create_connection(("127.0.0.1", port_of(served, "socket")), PATIENCE) as client:
            client.sendall(b"*OPC?\n")
            assert client.recv(10) == b"1\n"
        with socket.create_connection(("127.0.0.1", port_of(served, way)), PATIENCE) as client:
            if way == "gateway":
                client.sendall(b"\n++mode 1\n++eos 2\n++eot_enable 0\n++auto 0\n++read_tmo_ms 3000\n++addr 24\n++clr\n")
                client.sendall(b"*OPC?\n++read eoi\n")
                assert client.recv(10) == b"1\n"
            else:
                client.sendall(SOUND[way][0])
                assert client.recv(100)
