"""docs/technologies.md: what each technology isolates, costs and can't do, and whom it is for.

Made of what drivers say of themselves (`Capabilities`, `Health`) and of what was measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Final

from assay.bench.amounts import amount
from assay.bench.figures import Figure, Remark, Report
from assay.bench.startup.findings import ANSWERED, IDLE, WEIGHED, crowds_name
from assay.bench.startup.plan import in_words
from assay.bench.startup.tables import amounts, markdown, printable, technologies
from assay.bench.startup.workloads import WORKLOADS
from assay.bench.subject import explained
from assay.driver.port import Capabilities, Health

_NOTHING: Final = "–"
_BUILD: Final = re.compile(r"(Linux \d+\.\d+)\S*")
"""Whose build of a kernel it is matters to nobody else."""
_INTRODUCTION: Final = """\
# Technologies: what each isolates, costs and can't do

This page is made by `assay bench startup --all --document docs/technologies.md`, of what the
drivers say of themselves and of one run in which all took turns. Make your own: machines differ,
and the order of technologies rarely does. [SECURITY.md](../SECURITY.md) says what holds a program
in each, [benchmarks.md](benchmarks.md#startup-making-sandboxes) how it is measured.
"""
_BUSY: Final = """\
Others were at work on it all the while: everything took longer than it must, some things more than
others. Compare the rows with one another, not with other pages.
"""
_CHOICE: Final = """\
## Which to choose

Whom you let run programs decides, then the price.
"""
_ALONE: Final = """\
Technologies *alone* are no drivers: a program that does nothing, in namespaces of its own, without
limits, a filter of system calls or an agent. Nobody should run a learner's program so; they show
what the kernel and the tools take.
"""
_LACKS: Final[Mapping[str, str]] = MappingProxyType({
    "reattachment": "its sandboxes end with the server",
    "oom_facts": "nobody counts when a program is out of memory",
    "privilege_separation": "learners and privileged programs are one user",
    "disk_limit": "no limit of bytes on disk",
    "inode_limit": "no limit of files on disk",
    "memory_limit": "memory is limited for each process only",
    "process_limit": "no limit of processes for a sandbox",
    "cpu_limit": "no share of the processors",
    "exact_cpu_time": "waiting for a processor counts as its time",
    "whole_cpu_time": "processes that end unseen are missing in the CPU time",
    "own_devices": "its `/dev/null` and the like are the host's",
    "network_off": "a network can't be kept away",
    "network_on": "no network",
    "oom_spares_sandbox": "a program that is out of memory can end its whole sandbox",
    "bombs_spare_sandbox": "programs that multiply can end their sandbox",
    "private_processes": "learners see privileged programs in `/proc`",
    "masks": "`/proc` says more of the host, where an engine's own list of masks ends",
    "direct_stream": "processes carry the stream, and a privileged program can end them",
    "socket_memory": "what sockets of TCP and UDP hold may not count as memory",
    "inert_mounts": "set-user-id bits and device nodes are made harmless by one rule each",
    "prompt_ends": "what is killed may take seconds to be gone",
    "own_terminals": "one sandbox can take all terminals of its machine",
    "terminal_keys": "Ctrl-C and the like may do nothing in a terminal",
    "socket_files": "looking at a socket's file can end its sandbox",
    "interpreters": "no Python can wait for the next program",
    "images_in_place": "the first sandbox of an image waits until that has been copied",
    "own_users": "all its sandboxes have the same users of the host",
    "pause": "no pause",
    "snapshot": "no snapshots",
    "devices": "no devices of the host, such as GPUs",
})  # fmt: skip
"""Of each capability: what it means when it is missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Technology:
    """A driver, as it describes itself here."""

    name: str
    capabilities: Capabilities
    health: Health


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """Where and when it was measured, without anybody's name."""

    processors: int
    virtual: bool
    """The machine is one of a hypervisor's."""
    load: float
    """Before it began: how many programs wanted a processor."""
    seconds: float
    """How long all of it took."""
    picture: str = ""
    """The file name of a picture beside the document, if there is one."""


def document(report: Report, found: Sequence[Technology], conditions: Conditions) -> str:
    """The whole page, as Markdown."""
    found = _fastest_first(report, found)
    parts = [
        _INTRODUCTION,
        _where(report, conditions),
        _overview(report, found),
        _CHOICE,
        _choice(report, found),
        _ALONE,
        "## One by one\n",
        *(_paragraph(report, each) for each in found),
        "## Measured\n",
        _workloads(),
        *([f"![the tables as bars]({conditions.picture})\n"] if conditions.picture else []),
        markdown(report),
    ]
    return "\n".join(parts)


def lacking(capabilities: Capabilities) -> tuple[str, ...]:
    """What can't be done, as parts of a sentence; one that is new here goes by its name."""
    missing = [
        each.name
        for each in fields(capabilities)
        if getattr(capabilities, each.name) is False and each.name != "own_kernel"
    ]
    return tuple(_LACKS.get(name, f"no {name.replace('_', ' ')}") for name in missing)


def _where(report: Report, conditions: Conditions) -> str:
    machine = "a virtual machine" if conditions.virtual else "a machine"
    cores = {1: "one core", 2: "two cores"}.get(
        conditions.processors, f"{conditions.processors} cores"
    )
    rounds = (f"{len(each)} of {count}" for count, each in _rounds(report))
    text = (
        f"Measured on {cores} of {machine}, in {in_words(conditions.seconds)}; rounds:"
        f" {', '.join(rounds)} at once. Before it began, {conditions.load:.1f} programs wanted"
        " a processor.\n"
    )
    return text if conditions.load < conditions.processors else f"{text}{_BUSY}"


def _rounds(report: Report) -> Iterator[tuple[int, tuple[float, ...]]]:
    for count in amounts(report):
        name = crowds_name(count, IDLE)
        samples = [each.measured.samples for each in report.figures if each.name == name]
        yield count, max(samples, key=len)


# --- all at a glance ------------------------------------------------------------------------------


def _overview(report: Report, found: Sequence[Technology]) -> str:
    counts = amounts(report)
    one, many = (counts[0], counts[-1]) if counts else (1, 1)
    head = ("technology", "kernel of its own", "one is idle", f"{many} are idle",
            "memory of each", "works here")  # fmt: skip
    rows = [head, ("---", "---", "---:", "---:", "---:", "---")]
    for each in found:
        own = "yes" if each.capabilities.own_kernel else "no"
        own = own if each.health.works else _NOTHING  # what it would be, nobody has seen
        rows.append((
            each.name, own, _cost(report, each.name, crowds_name(one, IDLE)),
            _cost(report, each.name, crowds_name(many, IDLE)), _memory(report, each.name),
            "yes" if each.health.works else "no",
        ))  # fmt: skip
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cost(report: Report, driver: str, name: str) -> str:
    figure = _figure(report, driver, name)
    if figure is not None:
        return amount(figure.measured.median, figure.unit)
    remark = _remark(report, driver, name.partition(":")[0])
    return remark.kind if remark else _NOTHING


def _memory(report: Report, driver: str) -> str:
    weighed = [
        figure for figure in report.figures
        if figure.driver == driver and figure.name.endswith(WEIGHED)
    ]  # fmt: skip
    return amount(weighed[-1].measured.median, weighed[-1].unit) if weighed else _NOTHING


def _figure(report: Report, driver: str, name: str) -> Figure | None:
    matching = (each for each in report.figures if (each.driver, each.name) == (driver, name))
    return next(matching, None)


def _remark(report: Report, driver: str, what: str) -> Remark | None:
    matching = (each for each in report.remarks if each.driver == driver)
    return next((each for each in matching if each.what in (what, "")), None)


# --- which to choose ------------------------------------------------------------------------------


def _choice(report: Report, found: Sequence[Technology]) -> str:
    working = [each for each in found if each.health.works]
    shared = _fastest_first(report, [each for each in working if not each.capabilities.own_kernel])
    own = _fastest_first(report, [each for each in working if each.capabilities.own_kernel])
    return "".join((
        "- **Learners of your course, on a kernel that is kept patched**: one that shares the"
        " host's kernel. A hole in a call that programs may use would be one in the sandbox.\n",
        _these(report, shared),
        "- **Strangers with time, exams, or a machine that holds what they must not have**: one"
        " with a kernel of its own. Who finds a hole in that is still held by what is around it.\n",
        _these(report, own),
        "- **An engine that others run, or another machine**: a driver of that engine. It isolates"
        " as its runtime does, and costs what the engine adds.\n",
        "- **Nobody**: where none of them works, `assay doctor` says what is missing.\n",
    ))  # fmt: skip


def _these(report: Report, found: Sequence[Technology]) -> str:
    if not found:
        return "  None of these works on the machine that this page was made on.\n"
    named = ", ".join(f"`{each.name}`{_price(report, each.name)}" for each in found)
    return f"  Here, the fastest first: {named}.\n"


def _price(report: Report, driver: str) -> str:
    figure = _figure(report, driver, crowds_name(1, ANSWERED))
    return f" ({amount(figure.measured.median, figure.unit)} for one)" if figure else ""


def _fastest_first(report: Report, found: Sequence[Technology]) -> list[Technology]:
    def seconds(each: Technology) -> float:
        figure = _figure(report, each.name, crowds_name(1, ANSWERED))
        return figure.measured.median if figure else float("inf")

    return sorted(found, key=seconds)


# --- one by one -----------------------------------------------------------------------------------


def _paragraph(report: Report, technology: Technology) -> str:
    if not technology.health.works:
        return f"### {technology.name}\n\n- {_state(technology)}. It is unverified here.\n"
    return "\n".join((
        f"### {technology.name}\n",
        *(f"- {line}" for line in (
            f"**isolates** {_isolation(technology.capabilities)}",
            f"**costs** {_costs(report, technology.name)}",
            f"**can't**: {'; '.join(lacking(technology.capabilities)) or 'nothing is missing'}",
            _state(technology),
            *_troubles(report, technology.name),
        )),
        "",
    ))  # fmt: skip


def _isolation(capabilities: Capabilities) -> str:
    if capabilities.own_kernel:
        text = "by a kernel of its own for each sandbox; what is around that is the host's"
    else:
        text = "by namespaces and a list of allowed system calls, on the host's own kernel"
    if capabilities.kernel_memory_bytes:
        text += f". Its kernel may need {capabilities.kernel_memory_bytes / 2**20:.0f} MiB more"
    return f"{text}. An execution's processes end by {str(capabilities.cleanup).replace('-', ' ')}."


def _costs(report: Report, driver: str) -> str:
    """In each way that it was measured."""
    ways = [name for name in technologies(report) if name.partition(", ")[0] == driver]
    found = {name: _costs_of(report, name) for name in ways}
    known = [
        text if name == driver else f"{name.partition(', ')[2]}: {text}"
        for name, text in sorted(found.items())
        if text
    ]
    return "; ".join(known) or "what could not be measured, or was not asked for"


def _costs_of(report: Report, driver: str) -> str:
    known = [
        f"{_cost(report, driver, crowds_name(count, IDLE))} until {count} "
        f"{'is' if count == 1 else 'are'} idle"
        for count in amounts(report)
        if _figure(report, driver, crowds_name(count, IDLE))
    ]
    memory = _memory(report, driver)
    if memory != _NOTHING:
        known.append(f"{memory} of memory for each")
    return ", ".join(known)


def _state(technology: Technology) -> str:
    health = technology.health
    known = _BUILD.sub(r"\1", health.version)
    version = f" ({known})" if known else ""
    works = f"{'it works' if health.works else 'it does not work'}{version}"
    problems = f"; {printable(explained(health.problems))}" if health.problems else ""
    return f"**here**: {works}{problems}"


def _troubles(report: Report, driver: str) -> Iterator[str]:
    for remark in report.remarks:
        if remark.driver == driver and remark.what:
            yield f"**{remark.kind}**, {remark.what}: {printable(remark.reason)}"


def _workloads() -> str:
    lines = (f"- *{each.name}*: {each.what}.\n" for each in WORKLOADS)
    return "".join(("The works in the tables of lives:\n\n", *lines))
