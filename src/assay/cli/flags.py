"""Flags that are made from a table of options."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from assay.config.options import Option

Command = Callable[..., int]


def flags_of(options: Sequence[Option]) -> Callable[[Command], Command]:
    """One flag for each option that may be one."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            if option.flag:
                command = _flag(option)(command)
        return command

    return add


def _flag(option: Option) -> Callable[[Command], Command]:
    if option.switch:
        return click.option(option.dashed, is_flag=True, default=None, help=option.about)
    text = f"{option.about} [{option.default_shown}]"
    return click.option(option.dashed, metavar=option.metavar, help=text)
