"""`assay serve` on lean, which can be killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

SECRET = "a-secret-of-32-letters-or-a-bit-more"


class Server:
    """`assay serve` that can be killed and started again."""

    def __init__(self, state: Path) -> None:
        self.state = state
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("ASSAY_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "assay", "--state", self.state, "serve", "--driver", "lean",
             "--listen", f"127.0.0.1:{self.port}", "--log-level", "error", "--destroy-on-exit",
             *("--environment", "python=1", "--environment", "bash=1", "--environment", "c=1")],
            stdout=subprocess.PIPE, start_new_session=True,
            env={**inherited, "ASSAY_CONFIG": os.devnull, "ASSAY_SERVER_TOKEN": SECRET},
        )  # fmt: skip
        assert self.process.stdout is not None
        assert b"serves at" in self.process.stdout.readline()

    def kill(self) -> None:
        self.process.kill()
        self.close()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.close()

    def close(self) -> None:
        self.process.wait(timeout=60)
        assert self.process.stdout is not None
        self.process.stdout.close()
