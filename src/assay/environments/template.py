"""Templates of arguments: `{placeholder}` in an argv, and nothing cleverer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Formatter

PLACEHOLDERS = ("source", "name", "memory_mib")
"""May stand anywhere in an argument. `{args}` may too, but only as an argument of its own."""

ARGUMENTS = "{args}"


def problem_with(argument: str) -> str | None:
    """Say what is wrong with one argument of a template, or None."""
    if argument == ARGUMENTS:
        return None
    if "\0" in argument:
        return "holds a NUL"
    try:
        parts = list(Formatter().parse(argument))
    except ValueError as error:
        return f"{error}; write {{{{ and }}}} for braces that are meant"
    for _, placeholder, form, conversion in parts:
        if placeholder == "args":
            return '"{args}" stands for any number of arguments: make it an argument of its own'
        if placeholder is not None and (placeholder not in PLACEHOLDERS or form or conversion):
            known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            return f"{{{placeholder}}} is no placeholder; there are {known} and {ARGUMENTS}"
    return None


def fill(
    argv: Sequence[str], values: Mapping[str, str], arguments: Sequence[str]
) -> tuple[str, ...]:
    """Fill in a template whose arguments have no problem."""
    filled: list[str] = []
    for argument in argv:
        if argument == ARGUMENTS:
            filled.extend(arguments)
        else:
            filled.append(argument.format_map(values))
    return tuple(filled)
