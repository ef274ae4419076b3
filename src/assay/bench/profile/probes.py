"""Where the stages of a server begin and end: put into its process before it runs.

The server itself knows nothing of this, and costs what it costs without it.
"""

from __future__ import annotations

import importlib
import inspect
import time
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

from assay.bench.profile.ledger import Ledger

HTTP: Final = "HTTP, WebSocket"
API: Final = "routes, JSON"
CALLER: Final = "who asks"
RUNNERS: Final = "runners"
POOL: Final = "pool"
AGENT: Final = "agent's client"
SOCKET: Final = "agent's socket"
DATABASE: Final = "database"
EVENTS: Final = "metrics, log"
DRIVER: Final = "driver"


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """Functions of a module that belong to a stage, by their qualified names."""

    stage: str
    module: str
    names: tuple[str, ...]


PROBES: Final = (
    Probe(stage=HTTP, module="aiohttp.web_protocol", names=(
        "RequestHandler.data_received", "RequestHandler.start", "RequestHandler.connection_made",
        "RequestHandler.connection_lost",
    )),
    Probe(stage=HTTP, module="aiohttp.web_ws", names=(
        "WebSocketResponse.prepare", "WebSocketResponse.send_frame", "WebSocketResponse.receive",
        "WebSocketResponse.close",
    )),
    Probe(stage=API, module="aiohttp.web_app", names=("Application._handle",)),
    Probe(stage=API, module="assay.api.stream", names=("_Listener.listen",)),
    Probe(stage=CALLER, module="assay.api.auth", names=("Authenticator.authenticate",)),
    Probe(stage=RUNNERS, module="assay.runners.runners", names=(
        "Runners.run_once", "Runners.create", "Runners.delete",
    )),
    Probe(stage=RUNNERS, module="assay.runners.runner", names=(
        "Runner.run", "Runner.command", "Runner.prepare", "Runner.follow", "Runner.forget",
    )),
    Probe(stage=RUNNERS, module="assay.runners.attachment", names=("Attachment.__anext__",)),
    Probe(stage=RUNNERS, module="assay.runners.executions", names=(
        "HostedExecution.on_output", "HostedExecution.on_change",
    )),
    Probe(stage=POOL, module="assay.pool.pool", names=("Pool.claim", "Pool.discard")),
    Probe(stage=POOL, module="assay.pool.upkeep", names=("Upkeep._run", "Upkeep._make")),
    Probe(stage=POOL, module="assay.pool.endings", names=("Endings._end",)),
    Probe(stage=AGENT, module="assay.agent.session", names=("Session.run",)),
    Probe(stage=AGENT, module="assay.agent.client", names=(
        "Agent.connect", "Agent._start", "Agent.aclose", "Agent._read",
    )),
    Probe(stage=AGENT, module="assay.agent.inbox", names=("Inbox._on_bytes",)),
    Probe(stage=SOCKET, module="assay.driver.stream", names=(
        "SocketStream.try_write", "SocketStream._hand_over", "SocketStream._on_readable",
    )),
    Probe(stage=DATABASE, module="assay.storage.database", names=("Storage._submit",)),
    Probe(stage=DATABASE, module="assay.storage.writer", names=(
        "Writer._resolve", "Writer.hand_over",
    )),
    Probe(stage=EVENTS, module="assay.observe.observer", names=("Observer.on_event",)),
    Probe(stage=DRIVER, module="assay.driver.guard", names=(
        "Guard.create", "Guard.connect", "Guard.destroy", "Guard.examine",
    )),
)  # fmt: skip
"""A name that is not there is left out: the same probes look at older versions as well."""


def install(ledger: Ledger) -> None:
    """Put every probe in its place."""
    for probe in PROBES:
        try:
            module = importlib.import_module(probe.module)
        except ImportError:
            continue
        for name in probe.names:
            _put_around(ledger, probe.stage, module, name)


def _put_around(ledger: Ledger, stage: str, module: Any, name: str) -> None:
    owner_name, _, attribute = name.rpartition(".")
    owner = getattr(module, owner_name, None)
    found = None if owner is None else inspect.getattr_static(owner, attribute, None)
    if found is None:
        return
    function = found.__func__ if isinstance(found, classmethod) else found
    around = ledger.around_steps if inspect.iscoroutinefunction(function) else ledger.around
    charged = around(stage, function)
    setattr(owner, attribute, classmethod(charged) if isinstance(found, classmethod) else charged)


class Moments:
    """When an execution came to the server, went to the agent, came back and was answered.

    On the clock, so for one execution at a time.
    """

    def __init__(self) -> None:
        self._now: dict[str, int] = {}
        self._mine: ContextVar[dict[str, int]] = ContextVar("moments")
        self._stored = 0
        self.found: list[tuple[int, int, int, int]] = []
        """Nanoseconds: of the request that stored it, if it was one of its own; until EXEC was
        made, until EXIT came, and until the answer was there."""

    def install(self) -> None:
        """Take note of them from now on."""
        self._note("assay.agent.client", "Agent._start", "sent")
        self._note("assay.agent.execution", "to_facts", "back")
        self._note("assay.api.stream", "_end", "told")
        application = importlib.import_module("aiohttp.web_app").Application
        handle = application._handle

        @wraps(handle)
        async def handled(*arguments: Any) -> Any:
            mine = {"came": time.perf_counter_ns()}
            self._mine.set(mine)
            try:
                return await handle(*arguments)
            finally:
                self._answered(mine)

        application._handle = handled

    def _note(self, module: str, name: str, moment: str) -> None:
        owner: Any = importlib.import_module(module)
        *path, attribute = name.split(".")
        for each in path:
            owner = getattr(owner, each)
        function = getattr(owner, attribute)

        @wraps(function)
        def noted(*arguments: Any, **named: Any) -> Any:
            if moment == "sent":  # in the request's own task; what follows may not be
                self._now = self._mine.get(self._now)
            self._now[moment] = time.perf_counter_ns()
            return function(*arguments, **named)

        setattr(owner, attribute, noted)

    def _answered(self, mine: dict[str, int]) -> None:
        if {"came", "sent", "back"} <= mine.keys():
            # A stream's handler goes on until its client has said goodbye.
            answered = mine.get("told") or time.perf_counter_ns()
            sent, back = mine["sent"], mine["back"]
            self.found.append((self._stored, sent - mine["came"], back - sent, answered - back))
            self._stored = 0
        else:
            self._stored = time.perf_counter_ns() - mine["came"]
