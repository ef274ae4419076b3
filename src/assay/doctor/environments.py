"""Which environments can be used here, and what would make the others usable."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from assay.domain.errors import AssayError
from assay.driver.port import Problem, RootFilesystem
from assay.environments import ExecutionEnvironment, missing_tools, placed


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvironmentReport:
    """Whether an environment can be used here."""

    name: str
    title: str
    usable: bool
    problems: tuple[Problem, ...] = ()


def examine_environments(
    environments: Iterable[ExecutionEnvironment],
    broken: Iterable[AssayError],
    root_of: Callable[[str], RootFilesystem],
) -> tuple[EnvironmentReport, ...]:
    """Look for every environment's tools in its image, which `root_of` finds. Never raises.

    `broken` is what is wrong with environments that could not be read at all.
    """
    found = [_examine(environment, root_of) for environment in environments]
    for error in broken:
        problem = Problem(summary=error.message)
        found.append(EnvironmentReport(name="?", title="", usable=False, problems=(problem,)))
    return tuple(found)


def _examine(
    environment: ExecutionEnvironment, root_of: Callable[[str], RootFilesystem]
) -> EnvironmentReport:
    try:
        root = root_of(environment.image)
        missing = missing_tools(placed(environment, root), root)
        problems = tuple(
            Problem(summary=f"{each.tool.path} is missing", remedy=each.remedy) for each in missing
        )
    except AssayError as error:
        problems = (Problem(summary=error.message),)
    except OSError as error:
        problems = (Problem(summary=str(error)),)
    return EnvironmentReport(
        name=environment.name,
        title=environment.title,
        usable=not problems,
        problems=problems,
    )
