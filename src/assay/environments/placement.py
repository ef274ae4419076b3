"""Where an image has the programs of an environment, which was written for another place."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from assay.driver.port import RootFilesystem
from assay.environments.model import ExecutionEnvironment, JobeLanguage, Step
from assay.environments.plan import variables_in
from assay.environments.tools import HOST, locate

_FOLDERS = ("bin", "sbin")
"""Where programs are: what lies elsewhere is no program, and not looked for by its name."""


def placed(
    environment: ExecutionEnvironment, root: RootFilesystem, *, overriding: bool = False
) -> ExecutionEnvironment:
    """The same environment, with each tool where `root` has it: on the image's PATH.

    A tool at the path that the author wrote stays there, unless somebody asks for another image
    than the author (`overriding`): python:3.12 has its Python in /usr/local/bin, and Debian's may
    be in /usr/bin. Tools that are nowhere stay, for `require_tools` to name.
    """
    if environment.image == HOST and not overriding:
        return environment
    path = variables_in(root, environment.variables)["PATH"]
    places = {
        tool.path: _place(tool.path, root, path, overriding=overriding)
        for tool in environment.tools
    }
    step, jobe = environment.compile, environment.jobe
    return replace(
        environment,
        tools=tuple(replace(tool, path=places[tool.path]) for tool in environment.tools),
        compile=None if step is None else _moved(step, places),
        run=_moved(environment.run, places),
        jobe=None if jobe is None else _jobe_moved(jobe, places),
    )


def _place(written: str, root: RootFilesystem, path: str, *, overriding: bool) -> str:
    there = written if _is_program(written, root) else None
    found = _on_path(written, root, path)
    return (found or there or written) if overriding else (there or found or written)


def _on_path(written: str, root: RootFilesystem, path: str) -> str | None:
    if PurePosixPath(written).parent.name not in _FOLDERS:
        return None
    for folder in path.split(":"):
        candidate = f"{folder.rstrip('/')}/{PurePosixPath(written).name}"
        if folder.startswith("/") and _is_program(candidate, root):
            return candidate
    return None


def _is_program(path: str, root: RootFilesystem) -> bool:
    try:
        found = locate(path, root)
        mode = found.stat().st_mode if found is not None else 0
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & 0o111)


def _moved(step: Step, places: Mapping[str, str]) -> Step:
    return replace(step, argv=_argv_moved(step.argv, places))


def _argv_moved(argv: tuple[str, ...], places: Mapping[str, str]) -> tuple[str, ...]:
    program, *arguments = argv
    return (places.get(program, program), *arguments)


def _jobe_moved(jobe: JobeLanguage, places: Mapping[str, str]) -> JobeLanguage:
    version = jobe.version
    return replace(
        jobe,
        compile=None if jobe.compile is None else _moved(jobe.compile, places),
        run=_moved(jobe.run, places),
        check=None if jobe.check is None else _argv_moved(jobe.check, places),
        version=None
        if version is None
        else replace(version, argv=_argv_moved(version.argv, places)),
    )
