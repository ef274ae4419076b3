"""Random frames, valid and not, from somebody who knows the secret: the agent must outlive them."""

from __future__ import annotations

import os
import random
import struct
import time

import pytest
from wire import EXEC, READY, RunningAgent, field, frame, number

pytestmark = [pytest.mark.root, pytest.mark.slow]

NUMBERS = [0, 1, 2, 8, 4095, 65536, 1 << 20, 2**32 - 1, 2**63, 2**64 - 1]
ARGUMENTS = [
    ["true"],
    ["cat"],
    ["sh", "-c", "yes | head -c 300000"],
    ["nosuch"],
    [""],
    [],
    ["list", "/tmp", ".", "2", "50"],
    ["get", "/etc", "hostname", "1000"],
    ["put", "/nowhere"],
    ["tunnel", "1"],
]


def random_exec(pick: random.Random, channel: int) -> bytes:
    payload = b"".join(field(16, word.encode()) for word in pick.choice(ARGUMENTS))
    payload += field(17, b"PATH=/usr/bin:/bin") + field(19, pick.choice([0, 10001, 2**40]))
    for tag in (22, 23, 24, 25, 26, 27, 28):
        if pick.random() < 0.4:
            payload += field(tag, pick.choice(NUMBERS))
    if pick.random() < 0.3:
        payload += field(21, pick.choice([struct.pack("<HH", 24, 80), b"", b"abc"]))
    if pick.random() < 0.1:
        payload += os.urandom(pick.randrange(1, 20))
    return frame(EXEC, channel, payload)


def random_frame(pick: random.Random, newest: int) -> bytes:
    channel = pick.choice([0, 1, newest, max(1, newest - 1), max(1, newest - 2)])
    kind = pick.randrange(10)
    if kind == 0:
        return frame(34, channel, number(0) + os.urandom(pick.choice([0, 10, 60000])))
    if kind == 1 and pick.random() < 0.1:
        return os.urandom(pick.randrange(100))
    type_ = pick.choice([4, 18, 19, 20, 21, 22, 33, 35])
    return frame(type_, channel, pick.choice([b"", number(pick.choice(NUMBERS)), bytes(4)]))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_agent_outlives_random_frames(agent: RunningAgent, seed: int) -> None:
    pick, newest, end = random.Random(seed), 0, time.monotonic() + 4
    while time.monotonic() < end:
        peer = agent.peer()
        peer.socket.setblocking(False)
        try:
            for _ in range(pick.randrange(200)):
                newest += pick.random() < 0.3
                data = random_exec(pick, newest) if pick.random() < 0.3 else b""
                peer.socket.send(data + random_frame(pick, newest))
                if pick.random() < 0.5:
                    peer.socket.recv(1 << 16)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass
        peer.close()
    ready = agent.connect().hello(agent.secret)
    assert ready is not None
    assert ready.type == READY
