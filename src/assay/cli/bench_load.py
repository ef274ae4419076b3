"""`assay bench load`: a server under load."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import click

from assay.cli.bench_output import STANDARD_OUTPUT, writable, write
from assay.cli.context import Flags
from assay.cli.exit_status import Status
from assay.cli.failure import ServerUnreachable
from assay.domain.errors import Unavailable

if TYPE_CHECKING:
    from assay.bench import Subject
    from assay.bench.load.report import LoadReport
    from assay.bench.load.setting import Setting

PROFILES: Final = ("mooc", "fresh", "ceiling", "claims", "storm")
_SECONDS_BETWEEN_LINES: Final = 10.0
_EPILOG: Final = """\b
Profiles:
  mooc      executions arrive whatever the server does, each in its learner's runner; with
            --kill the server is killed meanwhile, and nothing may be lost [the default]
  fresh     the same rate, each execution with a sandbox that nobody had
  ceiling   as many programs as the machine can start, beside a bare loop of spawn and wait
  claims    how long one waits for a runner, warm or missing, and for a keystroke's echo
  storm     one token claims as fast as it can; what do the others feel of it?

\b
Examples:
  assay bench load                             the promise: 120 a second for five minutes
  assay bench load --rate 20 --runners 250 --seconds 60 --html load.html
  assay bench load --mix mooc --rate 10 --runners 80 --seconds 60
  assay bench load --kill 20 --json recovery.json
  assay bench load fresh --over runners --driver crun
  assay bench load ceiling
  assay bench load --server https://assay.example.org --rate 5 --runners 60

It starts a server of its own, with temporary state, unless --server names another one. Latencies
count from the moment that an arrival was scheduled for, not from when it was sent. Ctrl-C reports
what was measured so far; the second one just ends. The exit status is 1 when a promise is not
kept. docs/benchmarks.md says how to read it all.
"""


@click.command("load", epilog=_EPILOG)
@click.argument("profile", type=click.Choice(PROFILES), default="mooc")
@click.option(
    "--server", metavar="URL", envvar="ASSAY_SERVER_URL", help="Another server than one of our own."
)
@click.option(
    "--token", metavar="TOKEN", envvar="ASSAY_TOKEN",
    help="For it; better in the variable ASSAY_TOKEN, for flags can be seen by everybody here.",
)  # fmt: skip
@click.option("--driver", metavar="NAME", help="Of our own server. [the fastest that works]")
@click.option("--rate", type=float, metavar="N", help="Arrivals a second.")
@click.option("--seconds", type=float, metavar="S", help="For how long; of each turn in ceiling.")
@click.option("--runners", type=int, metavar="N", help="mooc: leased runners, one a learner.")
@click.option("--churn", type=float, metavar="N", help="mooc: leases a second that come and go.")
@click.option("--mix", type=click.Choice(["wait", "mooc"]), help="mooc: what learners run.")
@click.option(
    "--wait", type=float, metavar="S", help="mooc, fresh: how long a waiting program waits."
)
@click.option(
    "--over", type=click.Choice(["run", "runners"]),
    help="fresh: one request each, or a lease, an execution, its stream, the lease's end.",
)  # fmt: skip
@click.option("--pool", type=int, metavar="N", help="fresh: idle sandboxes held ready.")
@click.option("--kill", "kills", type=int, metavar="N", help="mooc: kill -9 the server N times.")
@click.option("--rounds", type=int, metavar="N", help="ceiling: turns of each program.")
@click.option("--workers", type=int, metavar="N", help="ceiling, storm: at one time.")
@click.option("--claims", type=int, metavar="N", help="claims: of warm runners.")
@click.option("--missing", type=int, metavar="N", help="claims: of missing ones.")
@click.option("--keys", type=int, metavar="N", help="claims: keystrokes.")
@click.option("--storm-token", metavar="TOKEN", help="storm: a second token, with --server.")
@click.option("--seed", type=int, metavar="N", help="Of all that is random.")
@click.option(
    "--json", "json_to", metavar="[FILE]", is_flag=False, flag_value=STANDARD_OUTPUT,
    callback=writable,
    help="Write the numbers to FILE, too; without FILE, print them in place of the tables.",
)  # fmt: skip
@click.option(
    "--html", "html_to", metavar="FILE", callback=writable,
    help="Write a page with pictures to FILE.",
)  # fmt: skip
@click.pass_obj
def load(
    flags: Flags,
    /,
    *,
    profile: str,
    server: str | None,
    token: str | None,
    driver: str | None,
    json_to: str | None,
    html_to: str | None,
    storm_token: str | None,
    **options: Any,
) -> int:
    """A server under load: what it serves, how quickly, and what that takes."""
    require_client()
    if server is None:
        flags.settings_for_sandboxes(driver=driver)
    given = {name: value for name, value in options.items() if value is not None}
    if storm_token is not None:
        given["token"] = storm_token
    with shown(quiet=json_to == STANDARD_OUTPUT) as told:
        setting = _setting(told, server, token, driver)
        try:
            report = asyncio.run(_measured(flags, setting, profile, given))
        except asyncio.CancelledError:
            return Status.CANCELLED
    answer(report, json_to, html_to)
    return 0 if report.kept else Status.FAILED


def require_client() -> None:
    """Raise Unavailable without the client, whose protocol the generator speaks."""
    try:
        import assay_client  # noqa: F401
    except ImportError:
        raise Unavailable(
            "assay bench load needs the client: pip install 'assay[client]'"
        ) from None


def _setting(
    told: Callable[[dict[str, Any]], None],
    server: str | None,
    token: str | None,
    driver: str | None,
) -> Setting:
    from assay.bench.load.setting import Setting

    return Setting(told=told, server=server, token=token or "", driver=driver)


# --- measuring -----------------------------------------------------------------------------------


async def _measured(
    flags: Flags, setting: Setting, profile: str, given: Mapping[str, Any]
) -> LoadReport:
    from assay.bench.load.control import ServerSilent

    with interruptible(setting):
        try:
            return await _PROFILES[profile](flags, setting, given)
        except ServerSilent as error:
            raise ServerUnreachable(error.message) from error


async def _mooc(flags: Flags, setting: Setting, given: Mapping[str, Any]) -> LoadReport:
    from assay.bench.load import mooc

    if given.get("kills") and setting.server is not None:
        raise click.UsageError("--kill is for a server of our own, not for --server")
    return await mooc.measure(setting, _options(mooc.Mooc, given))


async def _fresh(flags: Flags, setting: Setting, given: Mapping[str, Any]) -> LoadReport:
    from assay.bench.load import fresh

    return await fresh.measure(setting, _options(fresh.FreshOptions, given))


async def _ceiling(flags: Flags, setting: Setting, given: Mapping[str, Any]) -> LoadReport:
    from assay.bench.load import ceiling

    return await ceiling.measure(setting, _options(ceiling.Ceiling, given))


async def _claims(flags: Flags, setting: Setting, given: Mapping[str, Any]) -> LoadReport:
    from assay.bench.load import claims

    options = _options(claims.ClaimsOptions, given)
    async with _subject(flags, setting) as subject:
        return await claims.measure(setting, options, subject)


async def _storm(flags: Flags, setting: Setting, given: Mapping[str, Any]) -> LoadReport:
    from assay.bench.load import storm

    return await storm.measure(setting, _options(storm.StormOptions, given))


_PROFILES: Final = {
    "mooc": _mooc, "fresh": _fresh, "ceiling": _ceiling, "claims": _claims, "storm": _storm,
}  # fmt: skip


@contextlib.asynccontextmanager
async def _subject(flags: Flags, setting: Setting) -> AsyncIterator[Subject | None]:
    """The driver alone, where it is on this machine as the server is."""
    if setting.server is not None:
        yield None
        return
    from assay.bootstrap import choose_driver
    from assay.bootstrap.subjects import open_subject

    settings = flags.settings(driver=setting.driver)
    async with open_subject(settings, setting.driver or await choose_driver(settings)) as subject:
        yield subject


def _options(kind: type[Any], given: Mapping[str, Any]) -> Any:
    """The profile's options; those that it does not have are a mistake. Raises UsageError."""
    known = {field.name for field in fields(kind)}
    for name, value in given.items():
        if name not in known:
            flag = {"kills": "kill", "token": "storm-token"}.get(name, name)
            raise click.UsageError(f"--{flag} is for another profile")
        if isinstance(value, (int, float)) and value < 0:
            raise click.UsageError(f"--{name} must not be negative")
        if not value and name in ("rate", "seconds", "runners", "workers", "rounds"):
            raise click.UsageError(f"--{name} must be more than zero")
    return kind(**given)


@contextlib.contextmanager
def interruptible(setting: Setting) -> Iterator[None]:
    """The first Ctrl-C reports what there is; the next one, and SIGTERM, just end it."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def interrupt() -> None:
        if setting.stopped:
            task.cancel()
        setting.stop()

    loop.add_signal_handler(signal.SIGINT, interrupt)
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)


# --- telling -------------------------------------------------------------------------------------


@contextlib.contextmanager
def shown(*, quiet: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """How far it is, on standard error: one line that changes, or now and then a new one."""
    if sys.stderr is None or (quiet and not os.isatty(2)):
        yield lambda progress: None
        return
    last = float("-inf")
    terminal = os.isatty(2)

    def told(progress: dict[str, Any]) -> None:
        nonlocal last
        now = time.monotonic()
        if not terminal and now - last < _SECONDS_BETWEEN_LINES:
            return
        last = now
        line = progress_line(progress)
        os.write(2, (f"\r\x1b[K{line}" if terminal else f"{line}\n").encode())

    try:
        yield told
    finally:
        if terminal:
            os.write(2, b"\r\x1b[K")


def progress_line(progress: Mapping[str, Any]) -> str:
    """What the generator says, for people."""
    parts = [f"{progress['what']} {progress['done']:,}/{progress['whole']:,}"]
    if "running" in progress:
        parts.append(f"{progress['running']:,} at once in {progress['runners']:,} runners")
        parts.append(f"{progress['failed']:,} failed")
    if progress.get("p50") is not None:
        parts.append(
            f"start p50 {progress['p50'] * 1e3:.1f} ms, p99 {progress['p99'] * 1e3:.1f} ms"
        )
    return " · ".join(parts)


def answer(report: LoadReport, json_to: str | None, html_to: str | None) -> None:
    """Print a report, and write it where somebody wants it."""
    from assay.bench.load.page import page
    from assay.bench.load.report import as_data
    from assay.cli.bench_load_table import show

    if json_to != STANDARD_OUTPUT:
        show(report)
    if html_to is not None:
        write(html_to, page([report], _machine()))
    if json_to is not None:
        write(json_to, json.dumps({"machine": _machine(), **as_data(report)}, indent=2))


def _machine() -> dict[str, Any]:
    machine = os.uname()
    return {
        "kernel": machine.release,
        "architecture": machine.machine,
        "processors": len(os.sched_getaffinity(0)),
    }
