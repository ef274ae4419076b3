"""The end of `./dev demo`: a server that people look at, or one request where nobody does."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

DEMO = """
import sys
from pathlib import Path
from assay.bootstrap import Catalogue
from assay.cli.demo_server import serve_demo
from assay.cli.show import console
from assay.config import Settings
settings = Settings(state=Path(sys.argv[1]), images=Path(sys.argv[1]), driver="lean")
sys.exit(serve_demo(settings, Catalogue(settings), console()))
"""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "state"
    assert list((tmp_path / "state/lean/sandboxes").iterdir()) == []
    assert list((tmp_path / "state").glob("demo.db*")) == []


def test_where_nobody_looks_on_one_request_is_shown(state: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", DEMO, state], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=90,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "Assay serves at http://127.0.0.1:" in ended.stdout
    assert '"stdout":"42\\n"' in ended.stdout


def test_on_a_terminal_it_serves_until_ctrl_c(state: Path) -> None:
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", DEMO, state], stdin=terminal, stdout=terminal, stderr=terminal,
        start_new_session=True, preexec_fn=_take_terminal,
    )  # fmt: skip
    os.close(terminal)
    try:
        shown = _read_until(main, b"leaves nothing behind.")
        url = shown.partition(b"Assay serves at ")[2].split()[0].decode().partition("\x1b")[0]
        body = json.dumps({"environment": "bash", "source": "echo $((6 * 7))"}).encode()
        with urllib.request.urlopen(f"{url}/api/v1/run", body, timeout=30) as answer:
            assert json.load(answer)["stdout"] == "42\n"
        os.write(main, b"\x03")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(main)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _read_until(terminal: int, wanted: bytes) -> bytes:
    got = b""
    while wanted not in got:
        got += os.read(terminal, 65536)
    return got
