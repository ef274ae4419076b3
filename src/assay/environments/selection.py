"""Which environment is meant."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import PurePath

from assay.domain.errors import UnknownEnvironment
from assay.environments.model import ExecutionEnvironment


def select(environments: Sequence[ExecutionEnvironment], name: str) -> ExecutionEnvironment:
    """Return the environment called `name`, or raise UnknownEnvironment."""
    names = {environment.name: environment for environment in environments}
    if name in names:
        return names[name]
    close = get_close_matches(name.lower(), names, n=2)
    advice = f"did you mean {' or '.join(close)}?" if close else _what_there_is(environments)
    raise UnknownEnvironment(f"no environment is called {name!r}; {advice}")


def for_file(environments: Sequence[ExecutionEnvironment], path: PurePath) -> ExecutionEnvironment:
    """Return the first environment that takes source files with the ending of `path`."""
    for environment in environments:
        if path.suffix in environment.extensions:
            return environment
    endings = sorted({ending for each in environments for ending in each.extensions})
    raise UnknownEnvironment(
        f"no environment takes {path.name!r} (the endings are {', '.join(endings) or 'none'}); "
        f"name one with -e: {_what_there_is(environments)}"
    )


def _what_there_is(environments: Sequence[ExecutionEnvironment]) -> str:
    names = ", ".join(environment.name for environment in environments)
    return f"there are {names}" if names else "there are none here"
