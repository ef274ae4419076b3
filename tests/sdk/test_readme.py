"""What the README shows works as it stands there, but for the address."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest
from wire_server import TOKEN, WireServer

README = Path(__file__).resolve().parent.parent.parent / "sdk" / "README.md"
SHOWN = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
PROGRAMS = [text for text in SHOWN if text.startswith("import")]


@pytest.mark.parametrize("program", PROGRAMS, ids=["asynchronous", "synchronous"])
async def test_the_journey_of_five_lines(server: WireServer, program: str) -> None:
    assert "http://127.0.0.1:7200" in program
    ran = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program.replace("http://127.0.0.1:7200", server.url),
        env={**os.environ, "ASSAY_TOKEN": TOKEN}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await ran.communicate()
    assert ran.returncode == 0
    assert b"exited(0)" in output
    assert server.files == {"hello.py": b"print('Hello, world!')"}
    assert server.runners == {}
