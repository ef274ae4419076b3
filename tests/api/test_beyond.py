"""What goes beyond Poseidon's contract, on real sandboxes."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from poseidon_client import PoseidonClient

pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.asyncio(loop_scope="module"),
]
V1 = ("assay.v1",)


class Api:
    """JSON in, JSON out."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self.session.request(method, path, json=body) as answer:
            text = await answer.read()
            return answer.status, json.loads(text) if text else None


@pytest.fixture
def api(client: PoseidonClient) -> Api:
    return Api(client.session)


@pytest_asyncio.fixture(loop_scope="module")
async def bash(api: Api) -> AsyncIterator[str]:
    status, lease = await api("POST", "runners", {"environment": "bash"})
    assert status == 200
    yield lease["runnerId"]
    await api("DELETE", f"runners/{lease['runnerId']}")


async def start(api: Api, runner: str, *argv: str, **more: Any) -> str:
    body = {"argv": list(argv), **more}
    status, answer = await api("POST", f"runners/{runner}/execute", body)
    assert status == 200, answer
    url = answer["websocketUrl"]
    assert isinstance(url, str)
    return url


class Follower:
    """A client of assay.v1 that keeps what it gets."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.output = {1: b"", 2: b""}
        self.offset = 0
        self.window = 0
        self.end: Any = None

    async def next(self) -> Any:
        message = await self.socket.receive(timeout=20)
        if message.type is aiohttp.WSMsgType.TEXT:
            said = json.loads(message.data)
            if said["type"] == "end":
                self.end = said
            elif said["type"] == "input":
                self.window = said["offset"]
            return said
        assert message.type is aiohttp.WSMsgType.BINARY, message
        stream, offset = struct.unpack(">BQ", message.data[:9])
        assert offset == self.offset
        self.output[stream] += message.data[9:]
        self.offset += len(message.data) - 9
        return None

    async def until_end(self) -> Any:
        while self.end is None:
            await self.next()
            if self.offset:
                await self.socket.send_json({"type": "ack", "offset": self.offset})
        await self.socket.send_json({"type": "bye"})
        assert (await self.socket.receive(timeout=20)).type is aiohttp.WSMsgType.CLOSE
        assert self.socket.close_code == 1000
        return self.end["outcome"]


async def test_any_bytes_go_in_and_come_out(api: Api, bash: str) -> None:
    url = await start(api, bash, "/bin/sh", "-c", "cat; echo done >&2", stdin=True)
    everything = bytes(range(256)) * 100
    async with api.session.ws_connect(url, protocols=V1) as socket:
        follower = Follower(socket)
        assert (await follower.next())["type"] == "start"
        for offset in range(0, len(everything), 1000):
            frame = struct.pack(">BQ", 0, offset) + everything[offset : offset + 1000]
            await socket.send_bytes(frame)
            await socket.send_bytes(frame)  # what came twice counts once
        await socket.send_json({"type": "end-input"})
        outcome = await follower.until_end()
    assert outcome == {
        "kind": "exited",
        "code": 0,
        "signal": None,
        "clock": None,
        "reason": None,
    }
    assert follower.output == {1: everything, 2: b"done\n"}
    assert follower.end["measurements"]["outputBytes"]["value"] == len(everything) + 5


async def test_a_lost_connection_loses_no_byte(api: Api, bash: str) -> None:
    script = "seq 60000; read x; echo got $x"  # more than a few messages hold
    url = await start(api, bash, "/bin/sh", "-c", script, stdin=True)
    output, offset = b"", 0
    for attempt in range(4):
        query = "" if attempt == 0 else f"&offset={offset}"
        async with api.session.ws_connect(url + query, protocols=V1) as socket:
            follower = Follower(socket)
            follower.offset = offset
            begun = await follower.next()
            assert (begun["resumed"], begun["offset"]) == (attempt > 0, offset)
            if attempt == 3:
                await socket.send_bytes(struct.pack(">BQ", 0, 0) + b"it\n")
                await follower.until_end()
            else:
                while len(follower.output[1]) < 5000:
                    await follower.next()
                socket._response.connection.transport.abort()  # type: ignore[union-attr]
        output += follower.output[1]
        offset = follower.offset
    assert output == b"".join(b"%d\n" % i for i in range(1, 60001)) + b"got it\n"


async def test_a_newer_connection_replaces_the_older(api: Api, bash: str) -> None:
    url = await start(api, bash, "/bin/sleep", "30")
    async with api.session.ws_connect(url, protocols=V1) as older:
        await Follower(older).next()
        async with api.session.ws_connect(url, protocols=V1) as newer:
            follower = Follower(newer)
            assert (await follower.next())["resumed"]
            assert (await older.receive(timeout=20)).data == 4409
            await newer.send_json({"type": "cancel"})
            assert (await follower.until_end())["kind"] == "cancelled"


async def test_signals_and_sizes_reach_a_terminal(api: Api, bash: str) -> None:
    script = "trap 'stty size; exit 5' INT; stty size; echo ready; while :; do sleep 0.02; done"
    size = {"rows": 30, "columns": 90}
    url = await start(api, bash, "/bin/bash", "-c", script, terminal=size)
    async with api.session.ws_connect(url, protocols=V1) as socket:
        follower = Follower(socket)
        while b"ready" not in follower.output[1]:
            await follower.next()
        await socket.send_json({"type": "resize", "rows": 40, "columns": 100})
        await socket.send_json({"type": "signal", "signal": 2})
        assert (await follower.until_end())["code"] == 5
    assert follower.output[1].split() == [b"30", b"90", b"ready", b"40", b"100"]


async def test_poseidons_messages_are_there_for_argv_too(
    client: PoseidonClient, api: Api, bash: str
) -> None:
    url = await start(api, bash, "/bin/echo", "$HOME", "'")
    async with api.session.ws_connect(url) as socket:
        said = [json.loads(message.data) async for message in socket]
    assert said[1:] == [{"type": "stdout", "data": "$HOME '\n"}, {"type": "exit", "data": 0}]


async def test_a_source_is_run_by_a_python_that_has_waited(api: Api) -> None:
    """Seen by the frame below the program's; it may not be ready yet in the first sandbox."""
    source = "import sys\nprint(sys._getframe().f_back is not None)"
    said = ""
    for _ in range(20):
        _, answer = await api("POST", "run", {"environment": "python", "source": source})
        said = answer["stdout"]
        if said == "True\n":
            break
        assert said == "False\n"
        await asyncio.sleep(0.1)
    assert said == "True\n"


async def test_a_source_is_run_in_one_request(api: Api) -> None:
    body = {"environment": "python", "source": "print(int(input()) * 2)", "stdin": "21"}
    status, answer = await api("POST", "run", body)
    assert (status, answer["stdout"], answer["outcome"]["code"]) == (200, "42\n", 0)
    assert (answer["step"], answer["encoding"]) == ("run", "utf-8")
    assert 0 < answer["timings"]["firstOutputMs"] <= answer["timings"]["runMs"]
    assert answer["measurements"]["cpuNs"]["value"] > 0
    body = {"environment": "python", "source": "while True: pass", "limits": {"cpuSeconds": 0.2}}
    status, answer = await api("POST", "run", body)
    assert (answer["outcome"]["kind"], answer["outcome"]["clock"]) == ("timed_out", "cpu")
    assert answer["timings"]["firstOutputMs"] is None
    body = {
        "environment": "bash",
        "files": [{"path": "data", "content": base64.b64encode(b"\xff\0").decode()}],
        "argv": ["/bin/cat", "data"],
    }
    status, answer = await api("POST", "run", body)
    assert (answer["encoding"], base64.b64decode(answer["stdout"])) == ("base64", b"\xff\0")
    body = {"environment": "bash", "argv": ["/usr/bin/yes"], "outputBytes": 1000}
    status, answer = await api("POST", "run", body)
    assert answer["outcome"]["kind"] == "output_limit"
    assert len(answer["stdout"]) <= 1000


async def test_a_program_is_run_in_a_runner(api: Api, bash: str) -> None:
    path = f"runners/{bash}/run"
    status, answer = await api("POST", path, {"argv": ["/usr/bin/wc", "-c"], "stdin": "four"})
    assert (status, answer["stdout"]) == (200, "4\n")
    body = {"command": "echo $X >&2; exit 3", "environment": {"X": "a b"}}
    status, answer = await api("POST", path, body)
    assert (answer["stderr"], answer["outcome"]["code"]) == ("a b\n", 3)
    status, answer = await api("POST", path, {"argv": ["/no/such/program"]})
    assert answer["startError"] == "ENOENT (program)"
    for wrong in (
        {},
        {"argv": ["x"], "command": "x"},
        {"argv": []},
        {"argv": ["a\0b"]},
        {"argv": ["x"], "stdin": "?", "stdinEncoding": "base64"},
        {"argv": ["x"], "stdinEncoding": "latin-1"},
        {"argv": ["x"], "limits": {"wallSeconds": -1}},
        {"argv": ["x"], "limits": {"wallSeconds": 1e300}},
        {"argv": ["x"], "limits": {"outputBytes": 2**70}},
        {"argv": ["x"], "outputBytes": 0},
        {"argv": ["x"], "environment": {"": "x"}},
        {"argv": ["x"], "environment": {"a=b": "x"}},
        {"argv": ["x" * 200_000]},
    ):
        status, answer = await api("POST", path, wrong)
        assert (status, answer["status"]) == (400, 400), wrong
    status, answer = await api("POST", path, {"argv": ["x"], "limits": {"wallSeconds": 1e6}})
    assert (status, answer["code"]) == (400, "limit_over_ceiling")


async def test_a_reset_runner_is_another_generation(api: Api) -> None:
    _, lease = await api("POST", "runners", {"environment": "bash", "maximumSeconds": 60})
    path = f"runners/{lease['runnerId']}"
    assert lease["generation"] == 1
    assert lease["expiresAt"] == pytest.approx(lease["createdAt"] + 60, abs=1)
    await api("POST", f"{path}/run", {"argv": ["/bin/touch", "/workspace/x"]})
    status, after = await api("POST", f"{path}/reset")
    assert (status, after["generation"]) == (200, 2)
    assert (await api("GET", f"{path}/files"))[1] == {"files": []}
    assert (await api("GET", f"{path}?generation=2"))[0] == 200
    assert (await api("GET", f"{path}?generation=1"))[0] == 410
    assert (await api("GET", f"{path}?generation=x"))[0] == 400
    assert lease["runnerId"] in [
        each["runnerId"] for each in (await api("GET", "runners"))[1]["runners"]
    ]
    assert (await api("DELETE", path))[0] == 204


async def test_executions_are_listed_and_cancelled(api: Api, bash: str) -> None:
    url = await start(api, bash, "/bin/sleep", "30")
    path = f"runners/{bash}/executions"
    (listed,) = (await api("GET", path))[1]["executions"]
    assert (listed["state"], listed["mode"], listed["attached"]) == ("prepared", "assay.v1", False)
    async with api.session.ws_connect(url, protocols=V1) as socket:
        follower = Follower(socket)
        await follower.next()
        _, listed = await api("GET", f"{path}/{listed['executionId']}")
        assert (listed["state"], listed["attached"]) == ("running", True)
        assert (await api("DELETE", f"{path}/{listed['executionId']}"))[0] == 204
        assert (await follower.until_end())["kind"] == "cancelled"
    assert (await api("GET", path))[1] == {"executions": []}
    assert (await api("DELETE", f"{path}/{listed['executionId']}"))[0] == 404


async def test_a_slow_reader_of_a_flood_costs_no_memory(api: Api, bash: str) -> None:
    _, answer = await api("POST", f"runners/{bash}/execute", {"command": "yes"})
    async with api.session.ws_connect(answer["websocketUrl"]) as socket:
        await socket.receive()
        socket._response.connection.transport.pause_reading()  # type: ignore[union-attr]
        await asyncio.sleep(0.5)
        before = resident()
        await asyncio.sleep(1.5)
        assert resident() - before < 8 * 2**20
        socket._response.connection.transport.resume_reading()  # type: ignore[union-attr]


def resident() -> int:
    """Bytes of memory of this process, in which the server is, too."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
