"""`assay env pull`, `build`, `images` and `gc`: the images of this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from assay.bootstrap import Catalogue, needed, open_images
from assay.cli.context import Flags
from assay.cli.progress import shown_progress
from assay.cli.show import console, good, print_json, table
from assay.domain.errors import InvalidInput
from assay.environments import HOST, ExecutionEnvironment
from assay.images import Image, OnProgress

_PATHS = ("/", "./", "../")

json_option = click.option("--json", "as_json", is_flag=True, help="One line of JSON.")


@click.command(
    epilog="""\b
Examples:
  assay env pull                       anew: the images of all environments
  assay env pull debian:12 registry.example:5000/course/python
  assay env pull oci:./layout docker-archive:./saved.tar
"""
)
@click.argument("references", nargs=-1, metavar="[REF]...")
@json_option
@click.pass_obj
def pull(flags: Flags, *, references: tuple[str, ...], as_json: bool) -> int:
    """Get images from where they come from, and pin each reference to what it has there now.

    Without REF: those of all environments. A Dockerfile is built anew, on what its FROM has now.
    """
    settings = flags.settings_for_sandboxes()
    images = open_images(settings)
    wanted = references or _of_environments(Catalogue(settings).environments)
    return _make(wanted, lambda each, tell: images.pull(each, on_progress=tell), as_json=as_json)


@click.command(
    epilog="""\b
Examples:
  assay env build                      the Dockerfiles of all environments that are one
  assay env build ./                   ./Dockerfile
  assay env build python               the Dockerfile that comes with the environment python
  assay run --image ./ -- ls -la       builds by itself, when something has changed
"""
)
@click.argument("wanted", nargs=-1, metavar="[NAME-OR-PATH]...")
@json_option
@click.pass_obj
def build(flags: Flags, *, wanted: tuple[str, ...], as_json: bool) -> int:
    """Build Dockerfiles, unless neither they nor the files beside them have changed.

    A PATH begins with ./ or /, and names a Dockerfile or its folder; a NAME is an environment's.
    """
    settings = flags.settings_for_sandboxes()
    catalogue, images = Catalogue(settings), open_images(settings)
    every = _of_environments(catalogue.environments)
    paths = [_dockerfile(catalogue, each) for each in wanted]
    paths = paths or [each for each in every if each.startswith("/")]
    return _make(paths, lambda each, tell: images.get(each, on_progress=tell), as_json=as_json)


@click.command()
@json_option
@click.pass_obj
def images(flags: Flags, *, as_json: bool) -> int:
    """List the images of this machine: sizes, digests, and who needs them."""
    settings = flags.settings_for_sandboxes()
    found = open_images(settings).all()
    reasons = needed(settings, Catalogue(settings).environments)
    if as_json:
        print_json({"images": [_as_data(each, reasons) for each in found]})
        return 0
    shown = table("image", "digest", "size", "age", "needed by", right=("size",))
    for each in found:
        shown.add_row(
            each.reference, each.digest[:19], _megabytes(each.size_bytes), _age(each),
            reasons.get(each.digest, "–"),
        )  # fmt: skip
    console().print(shown)
    return 0


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@json_option
@click.pass_obj
def gc(flags: Flags, *, dry_run: bool, as_json: bool) -> int:
    """Remove images that neither an environment nor a sandbox needs, and layers kept for later."""
    settings = flags.settings_for_sandboxes()
    images, environments = open_images(settings), Catalogue(settings).environments
    reasons = needed(settings, environments)
    unwanted = [each for each in images.all() if each.digest not in reasons]
    freed: int | None = None
    if not dry_run:
        with shown_progress(quiet=as_json) as on_progress:
            freed = images.collect_garbage(
                lambda: needed(settings, environments), on_progress=on_progress
            ).bytes
        left = {each.digest for each in images.all()}  # somebody may have begun to use one
        unwanted = [each for each in unwanted if each.digest not in left]
    if as_json:
        removed = [_as_data(each, reasons) for each in unwanted]
        print_json({"removed": removed, "freed_bytes": freed, "dry_run": dry_run})
        return 0
    out = console()
    for each in unwanted:
        out.print(f"{'would remove' if dry_run else 'removed'} {each.reference} {each.digest[:19]}")
    if freed is not None:
        out.print(good(f"{len(unwanted)} images removed, {_megabytes(freed)} free again"))
    return 0


def _make(
    references: Iterable[str], make: Callable[[str, OnProgress], Image], *, as_json: bool
) -> int:
    made = []
    out = console()
    for reference in dict.fromkeys(references):
        started = time.monotonic()
        with shown_progress(quiet=as_json) as on_progress:
            image = make(reference, on_progress)
        seconds = round(time.monotonic() - started, 3)
        made.append({**_as_data(image, {}), "seconds": seconds})
        if not as_json:
            size = _megabytes(image.size_bytes)
            out.print(good("✓"), f"{reference}  {image.digest[:19]}  {size}  {seconds:.1f} s")
    if as_json:
        print_json({"images": made})
    elif not made:
        out.print("no environment has an image of its own")
    return 0


def _of_environments(environments: Sequence[ExecutionEnvironment]) -> list[str]:
    return [each.image for each in environments if each.image != HOST]


def _dockerfile(catalogue: Catalogue, wanted: str) -> str:
    """What to build for a name or a path."""
    if wanted in (".", "..") or wanted.startswith(_PATHS):
        return wanted
    environment = catalogue.named(wanted)
    if environment.image.startswith("/"):
        return environment.image
    file = environment.folder.absolute() / "Dockerfile"
    if not file.is_file():
        raise InvalidInput(
            f"the environment {wanted} has no Dockerfile; a path begins with ./, as in ./{wanted}"
        )
    return str(file)


def _as_data(image: Image, reasons: dict[str, str]) -> dict[str, Any]:
    meant = image.configuration
    return {
        "reference": image.reference,
        "digest": image.digest,
        "size_bytes": image.size_bytes,
        "since": int(_since(image)),
        "needed_by": reasons.get(image.digest, ""),
        "user": meant.user,
        "working_folder": image.root.working_folder,
        "entrypoint": list(meant.entrypoint),
        "command": list(meant.command),
    }


def _since(image: Image) -> float:
    try:
        return image.root.path.parent.stat().st_mtime
    except OSError:
        return 0.0


def _age(image: Image) -> str:
    minutes = max(0, int(time.time() - _since(image)) // 60)
    for size, unit in ((60 * 24, "days"), (60, "hours"), (1, "minutes")):
        if minutes >= 2 * size:
            return f"{minutes // size} {unit}"
    return "now"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
