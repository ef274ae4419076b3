"""Templates of arguments: `{placeholder}` in an argv, and nothing cleverer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Formatter
from types import MappingProxyType

PLACEHOLDERS = ("source", "name", "memory_mib")
"""May stand anywhere in an argument."""
LISTS = ("args", "compile_args", "link_args", "interpreter_args")
"""Stand for any number of arguments, and so only as an argument of their own."""
ARGUMENTS = "{args}"
_PLACES = MappingProxyType({f"{{{name}}}": name for name in LISTS})
_NONE: Mapping[str, Sequence[str]] = MappingProxyType({})


def problem_with(argument: str) -> str | None:
    """Say what is wrong with one argument of a template, or None."""
    if argument in _PLACES:
        return None
    if "\0" in argument:
        return "holds a NUL"
    try:
        parts = list(Formatter().parse(argument))
    except ValueError as error:
        return f"{error}; write {{{{ and }}}} for braces that are meant"
    for _, placeholder, form, conversion in parts:
        if placeholder in LISTS:
            return (
                f'"{{{placeholder}}}" stands for any number of arguments: '
                "make it an argument of its own"
            )
        if placeholder is not None and (placeholder not in PLACEHOLDERS or form or conversion):
            known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS + LISTS[1:])
            return f"{{{placeholder}}} is no placeholder; there are {known} and {ARGUMENTS}"
    return None


def fill(
    argv: Sequence[str],
    values: Mapping[str, str],
    arguments: Sequence[str],
    lists: Mapping[str, Sequence[str]] = _NONE,
) -> tuple[str, ...]:
    """Fill in a template whose arguments have no problem; a list that isn't given is empty."""
    filled: list[str] = []
    for argument in argv:
        if argument == ARGUMENTS:
            filled.extend(arguments)
        elif argument in _PLACES:
            filled.extend(lists.get(_PLACES[argument], ()))
        else:
            filled.append(argument.format_map(values))
    return tuple(filled)
