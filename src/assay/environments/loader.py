"""Read folders with an `environment.toml`, strictly: nothing in them is ignored or guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

import assay
from assay.domain.errors import InvalidEnvironment, Unavailable
from assay.environments.conversion import Mistake, environment_of
from assay.environments.document import HINTS, TABLES, Document
from assay.environments.model import ExecutionEnvironment

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
        return environment_of(_decode(file.read_bytes()), folder)
    except OSError as error:
        raise _unreadable(file, error, f"an environment is a folder with {FILE}") from error
    except Mistake as mistake:
        place = f"{file}: {mistake.key}" if mistake.key else str(file)
        raise InvalidEnvironment(f"{place}: {mistake.problem}; {mistake.remedy}") from mistake


def _candidates(folder: Path) -> list[Path]:
    return sorted(item for item in folder.iterdir() if item.is_dir() and item.name[0] not in "._")


def _unreadable(path: Path, error: OSError, remedy: str) -> InvalidEnvironment:
    return InvalidEnvironment(f"{path}: {error.strerror}; {remedy}")


def _decode(content: bytes) -> Document:
    try:
        return msgspec.toml.decode(content, type=Document)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Mistake(
            "", f"this is not TOML: {error}", "https://toml.io shows how it is"
        ) from error


def _explain(message: str) -> Mistake:
    """A Mistake of msgspec's "Expected `int`, got `str` - at `$.run.argv`"."""
    problem, _, path = message.partition(" - at ")
    key = path.strip("`").removeprefix("$").lstrip(".").replace("[...]", "")
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", problem):
        known = TABLES[re.sub(r"\[\d+\]", "", key)].__struct_fields__
        return Mistake(
            f"{key}.{unknown[1]}".lstrip("."), "there is no such key", f"keys: {', '.join(known)}"
        )
    if missing := re.fullmatch(r"Object missing required field `(.*)`", problem):
        key, problem = f"{key}.{missing[1]}".lstrip("."), "this key is missing"
    last = re.sub(r"\[\d+\]", "", key).rpartition(".")[2]
    problem = re.sub(r"Expected `str` matching regex .*", "this has the wrong form", problem)
    remedy = f"write {HINTS[last]}" if last in HINTS else "see docs/environments.md"
    return Mistake(key, problem[0].lower() + problem[1:].replace("`", ""), remedy)
