"""What a learner serves on a port of their sandbox, seen through the server's reverse proxy."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Callable

import aiohttp
import pytest
from server_process import ServerProcess

pytestmark = pytest.mark.root

LEARNER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Set-Cookie", "stolen=1; Path=/")
        self.send_header("X-Accel-Redirect", "/etc/passwd")
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        if self.path == "/flood":
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(bytes(65536))
        self.wfile.write(f"{self.path} {sorted(self.headers)}".encode())
    def do_POST(self):
        count, left = 0, int(self.headers["Content-Length"])
        while left:
            data = self.rfile.read(min(left, 65536))
            count, left = count + len(data), left - len(data)
        self.send_response(201)
        self.end_headers()
        self.wfile.write(str(count).encode())
import contextlib
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Handler)
print("listening", flush=True)
server.serve_forever()
"""
SECRET = "sesame-open-yourself"


@contextlib.asynccontextmanager
async def served(http: aiohttp.ClientSession, runner: str):
    """Run the learner's server meanwhile."""
    files = {"argv": ["python3", "-c", LEARNER]}
    async with http.post(f"/api/v1/runners/{runner}/execute", json=files) as answer:
        url = (await answer.json())["websocketUrl"]
    async with http.ws_connect(url) as socket:
        async for message in socket:
            if "listening" in message.data:
                break
        yield


async def test_an_exposed_port_is_served_and_no_other(
    server: Callable[..., ServerProcess], tmp_path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    alive = server(environments=(), arguments=("--token-file", str(secret), "--allow-host-images"))
    alive.start()
    async with aiohttp.ClientSession(
        alive.url, headers={"Poseidon-Token": SECRET}, cookie_jar=aiohttp.DummyCookieJar()
    ) as http:
        asked = {"image": "host", "exposedPorts": [8080, 8081], "poolSize": 1}
        async with http.put("/api/v1/environments/web", json=asked) as answer:
            assert answer.status == 201, await answer.text()
        async with http.post("/api/v1/runners", json={"environment": "web"}) as answer:
            runner = (await answer.json())["runnerId"]
        ports = f"/api/v1/runners/{runner}/ports"
        async with http.get(f"{ports}/8080/") as answer:
            assert (answer.status, answer.content_type) == (502, "application/problem+json")
        async with served(http, runner):
            async with http.get(f"{ports}/8080/a/b?c=d", headers={"Cookie": "x=y"}) as answer:
                text = await answer.text()
                assert answer.status == 200
                assert text.startswith("/a/b?c=d ")
                assert "Token" not in text
                assert "Cookie" not in text
                assert "Set-Cookie" not in answer.headers
                assert "X-Accel-Redirect" not in answer.headers
                assert answer.headers["Content-Security-Policy"].startswith("sandbox ")
            async with http.post(f"{ports}/8080/", data=io.BytesIO(b"a" * 3_000_000)) as answer:
                assert (answer.status, await answer.text()) == (201, "3000000")
            for port, status in ((8081, 502), (8082, 404), (22, 404), (99999, 404), ("x", 404)):
                async with http.get(f"{ports}/{port}/") as answer:
                    assert answer.status == status, port
            answers = await asyncio.gather(*(http.get(f"{ports}/8080/{n}") for n in range(12)))
            assert {answer.status for answer in answers} == {200}
            async with http.get(f"{ports}/8080/flood") as answer:
                await answer.content.readexactly(1_000_000)
            async with http.get(f"{ports}/8080/") as answer:
                assert answer.status == 200
        async with http.delete(f"/api/v1/runners/{runner}") as answer:
            assert answer.status == 204
        async with http.get(f"{ports}/8080/") as answer:
            assert answer.status == 410
        async with http.get(f"{ports}/8080/", headers={"Poseidon-Token": "wrong"}) as answer:
            assert answer.status == 401
