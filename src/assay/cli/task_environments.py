"""What stands for the containers of INGInious: of the configuration, and of an option."""

from __future__ import annotations

from typing import Final

import click

from assay.config import Settings
from assay.domain.errors import InvalidInput
from assay.grading.inginious import Environments

environment_option: Final = click.option(
    "--environment", "named", multiple=True, metavar="CONTAINER=ENV",
    help="What stands for a container of INGInious; * for all others. May be repeated.",
)  # fmt: skip


def environments(settings: Settings, named: tuple[str, ...]) -> Environments:
    """Those of the option before those of the configuration. Raises InvalidInput."""
    return Environments(table={**settings.inginious, **_table(named)})


def _table(named: tuple[str, ...]) -> dict[str, str]:
    pairs = [each.partition("=") for each in named]
    for container, _, environment in pairs:
        if not container or not environment:
            raise InvalidInput(f"--environment {container}: this must be CONTAINER=ENV")
    return {container: environment for container, _, environment in pairs}
