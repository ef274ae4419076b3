"""Sandboxes with a Python in them, for the cases about interpreters that wait."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from assay.agent.execution import Completed
from assay.agent.files import write_file
from assay.agent.session import Session
from assay.domain.command import WORKSPACE, Command, Interpreter
from assay.domain.limits import MIB
from assay.driver.port import Mount
from assay.testing.case import Failure, NotTestable
from assay.testing.workbench import QUICK, Workbench

PYTHON: Final = "/usr/bin/python3"
_PROGRAMS: Final = (PYTHON, "/bin/bash", "/bin/cat")
VARIABLES: Final[Mapping[str, str]] = {
    "PATH": "/usr/bin:/bin",
    "HOME": WORKSPACE,
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}
_WAIT_SECONDS: Final = 20.0
_FOLDERS: Final = ("/usr", "/bin", "/lib", "/lib64")
_SAYS_WHERE: Final = "import sysconfig; print(sysconfig.get_path('stdlib'))"
_LIBRARY: Final = re.compile(r"(/\S+) \(0x")
"""A line of ldd's: where the loader has found one."""


def interpreter(*packages: str, **options: Any) -> Interpreter:
    """One for the commands that `run_file` gives."""
    options.setdefault("environment", VARIABLES)
    return Interpreter(
        path=PYTHON, packages=packages, open_files=QUICK.open_files, gid=None, **options
    )


async def python_session(bench: Workbench, **limits: Any) -> Session:
    """A sandbox with the machine's own Python. Raises NotTestable where there is none."""
    if not Path(PYTHON).exists():
        raise NotTestable(f"there is no {PYTHON} on this machine (apt-get install python3)")
    spec = bench.spec(**{"memory_bytes": 128 * MIB, **limits})
    in_place = bench.capabilities.images_in_place
    names = _FOLDERS if in_place else await asyncio.to_thread(_few_files)
    mounts = tuple(
        Mount(source=Path(name).resolve(), target=name) for name in names if Path(name).exists()
    )
    for mount in mounts:
        _make_place(spec.root.path / mount.target.lstrip("/"), like=mount.source)
    return await bench.session_of(replace(spec, root=replace(spec.root, mounts=mounts)))


def _make_place(place: Path, *, like: Path) -> None:
    """Make what something can be mounted over."""
    if like.is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()


@cache
def _few_files() -> tuple[str, ...]:
    """Of the machine what the cases run, for who copies what is shown: /usr is gigabytes."""
    library = _said(PYTHON, "-c", _SAYS_WHERE).strip()
    programs = [*_PROGRAMS, *map(str, Path(library, "lib-dynload").glob("*.so"))]
    return (*_PROGRAMS, library, *sorted({*_LIBRARY.findall(_said("ldd", *programs))}))


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


async def let_wait(bench: Workbench, session: Session) -> None:
    """Wait until the interpreter that was asked for does. Raises Failure when it never does."""
    try:
        async with asyncio.timeout(bench.patient(_WAIT_SECONDS)):
            await session.agent.interpreter_waits()
    except TimeoutError:
        raise Failure("no interpreter waits") from None


def python(bench: Workbench, *arguments: str, **options: Any) -> Command:
    """`python3` with these arguments, as the interpreter is kept for; else as `bench.command`."""
    command = bench.command(environment={**VARIABLES, **options.pop("more", {})}, **options)
    return replace(command, argv=(PYTHON, *arguments))


async def run_file(
    bench: Workbench, session: Session, source: str, *arguments: str,
    name: str = "program.py", stdin: bytes = b"", **options: Any,
) -> Completed:  # fmt: skip
    """Write a file and run it."""
    await write_file(session.agent, WORKSPACE, name, source.encode())
    return await session.run(python(bench, name, *arguments, **options), stdin)
