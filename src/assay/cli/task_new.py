"""`assay task new`: a task to begin with."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import click

from assay.bootstrap import Catalogue
from assay.cli.context import Flags
from assay.cli.show import console
from assay.cli.whole_file import written
from assay.domain.errors import InvalidInput
from assay.grading.tasks.starter import ANSWERS, KINDS, starter


@click.command(
    epilog="""\b
Examples:
  assay task new sum
  assay task new lists --environment java --kind random
  assay task new quiz --kind choice
"""
)
@click.option(
    "--environment",
    metavar="NAME",
    default="python",
    show_default=True,
    help="Of `assay env list`.",
)
@click.option(
    "--kind", type=click.Choice(list(KINDS)), default="cases", show_default=True,
    help="What the grade is made of.",
)  # fmt: skip
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.pass_obj
def new(flags: Flags, *, environment: str, kind: str, folder: Path) -> int:
    """Write a small, complete task into the new folder DIR.

    `assay task check DIR` finds nothing wrong with it; then change it into yours.
    """
    catalogue = Catalogue(flags.settings())
    files = starter(kind, catalogue.named(environment))
    with written(folder):
        _require_room(folder)
        _write(folder, files)
    out = console()
    for name in sorted(files):
        out.print(f"  {folder / name}")
    out.print(f"\nTry it:      assay task check {folder}")
    answer = ANSWERS.get(kind)
    out.print(f"Hand in:     assay grade {folder} {f'--answer {answer}' if answer else 'FILE'}")
    return 0


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """All of them, or nothing: what is there by half would be in the way of the next try."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except BaseException:
        if missing:
            shutil.rmtree(missing[-1], ignore_errors=True)
        else:  # it was there, and empty
            for made in folder.iterdir():
                shutil.rmtree(made) if made.is_dir() else made.unlink()
        raise


def _require_room(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise InvalidInput(f"{folder} is there already; name a folder that isn't there yet")
