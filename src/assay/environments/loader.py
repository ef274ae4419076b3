"""Read folders with an `environment.toml`, strictly: nothing in them is ignored or guessed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import assay
from assay.domain.errors import InvalidEnvironment, Unavailable
from assay.environments.conversion import environment_of
from assay.environments.document import SHAPE
from assay.environments.model import ExecutionEnvironment
from assay.environments.strict import Mistake

FILE = "environment.toml"


def bundled_folder() -> Path:
    """The folder of the environments that come with Assay, in a wheel or in a checkout."""
    package = Path(assay.__file__).parent
    for folder in (package / "_environments", package.parents[1] / "environments"):
        if folder.is_dir():
            return folder
    raise Unavailable("the environments that come with Assay are missing: install it again")


def load_all(
    folders: Sequence[Path],
) -> tuple[tuple[ExecutionEnvironment, ...], tuple[InvalidEnvironment, ...]]:
    """Load every environment in `folders`, a search path: of two with one name the first counts.

    What is wrong is returned beside what is right, so one bad folder hides no good one.
    """
    environments: dict[str, ExecutionEnvironment] = {}
    problems: list[InvalidEnvironment] = []
    for folder in folders:
        try:
            candidates = _candidates(folder)
        except OSError as error:
            problems.append(_unreadable(folder, error, "name a folder of environments"))
            continue
        for candidate in candidates:
            try:
                environment = load(candidate)
            except InvalidEnvironment as problem:
                problems.append(problem)
            else:
                environments.setdefault(environment.name, environment)
    return tuple(environments.values()), tuple(problems)


def load(folder: Path) -> ExecutionEnvironment:
    """Load one environment. Raises InvalidEnvironment: which file, which key, what to do."""
    file = folder / FILE
    try:
        return environment_of(SHAPE.decode(file.read_bytes()), folder)
    except OSError as error:
        raise _unreadable(file, error, f"an environment is a folder with {FILE}") from error
    except Mistake as mistake:
        place = f"{file}: {mistake.key}" if mistake.key else str(file)
        raise InvalidEnvironment(f"{place}: {mistake.problem}; {mistake.remedy}") from mistake


def _candidates(folder: Path) -> list[Path]:
    return sorted(item for item in folder.iterdir() if item.is_dir() and item.name[0] not in "._")


def _unreadable(path: Path, error: OSError, remedy: str) -> InvalidEnvironment:
    return InvalidEnvironment(f"{path}: {error.strerror}; {remedy}")
