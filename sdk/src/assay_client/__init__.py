"""A client of an Assay server: run programs of people whom nobody trusts, somewhere safe.

async with assay_client.Client(url, token=token) as client:
    async with client.runner("python") as runner:
        await runner.write({"hello.py": "print('hi')"})
        result = await runner.run("python3", "hello.py")
        print(result.stdout, result.outcome)

Without an event loop: `with assay_client.connect(url, token) as client:`, and no `await`.

errors.py    one tree of errors
values.py    what is asked for, and what comes back
wire.py      the messages of a stream, and what its client keeps: no I/O
http.py      requests, and what may be tried again
client.py    a server         runner.py   a leased sandbox       process.py   a running program
blocking.py  the thin synchronous shell
"""

from assay_client.blocking import BlockingClient, BlockingProcess, BlockingRunner, connect
from assay_client.client import Client
from assay_client.errors import AssayError
from assay_client.http import Patience
from assay_client.process import Process
from assay_client.runner import Runner
from assay_client.values import (
    Chunk,
    End,
    Execution,
    FileInfo,
    Lease,
    Limits,
    Measurement,
    Measurements,
    Outcome,
    OutcomeKind,
    PoolState,
    Result,
    TerminalSize,
    Timings,
)

__version__ = "0.1.0"

__all__ = [
    "AssayError", "BlockingClient", "BlockingProcess", "BlockingRunner", "Chunk", "Client", "End",
    "Execution", "FileInfo", "Lease", "Limits", "Measurement", "Measurements", "Outcome",
    "OutcomeKind", "Patience", "PoolState", "Process", "Result", "Runner", "TerminalSize",
    "Timings", "connect",
]  # fmt: skip
