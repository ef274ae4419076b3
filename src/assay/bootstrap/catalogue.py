"""The environments that there are, and whether they can be used on this machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from assay.bootstrap.devices import with_variables
from assay.bootstrap.images import open_images
from assay.config import Settings
from assay.domain.errors import (
    AssayError,
    EnvironmentUnusable,
    InvalidEnvironment,
    InvalidInput,
)
from assay.driver.port import RootFilesystem
from assay.environments import (
    HOST,
    ExecutionEnvironment,
    bundled_folder,
    for_file,
    load_all,
    placed,
    require_tools,
    select,
)
from assay.images import Image, OnProgress, host_image


def root_filesystem(settings: Settings, image: str) -> RootFilesystem:
    """The root file system that an environment's `image` means, if it is on this machine.

    Raises EnvironmentUnusable when it is not, InvalidInput, DiskFull or Unavailable.
    """
    return find_image(settings, image, None)[0]


def find_image(
    settings: Settings, reference: str, on_progress: OnProgress | None
) -> tuple[RootFilesystem, Image | None]:
    """The same, and the image to hold on to; pulled or built for who gives `on_progress`."""
    if reference == HOST:
        return host_image(settings.state), None
    images = open_images(settings)
    if on_progress is not None:
        image: Image | None = images.get(reference, on_progress=on_progress)
    else:
        image = images.find(reference)
    if image is None:
        remedy = "build" if reference.startswith("/") else "pull"
        raise EnvironmentUnusable(
            f"the image {reference} is not on this machine: assay env {remedy} {reference}"
        )
    return image.root, image


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """An environment that can be used now."""

    environment: ExecutionEnvironment
    """With its tools where the image has them."""
    root: RootFilesystem
    image: Image | None
    """What to hold on to while sandboxes are made; None: the machine's own programs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """An environment, and why it can't be used here (None: it can)."""

    environment: ExecutionEnvironment
    problem: AssayError | None

    @property
    def usable(self) -> bool:
        """Whether `assay run` offers it."""
        return self.problem is None


class Catalogue:
    """All environments of the settings' folders and of Assay itself, loaded once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _loaded(
        self,
    ) -> tuple[tuple[ExecutionEnvironment, ...], tuple[InvalidEnvironment, ...]]:
        return load_all((*self._settings.environments, bundled_folder()))

    @property
    def environments(self) -> tuple[ExecutionEnvironment, ...]:
        """Those that could be read, usable or not."""
        return self._loaded[0]

    @property
    def broken(self) -> tuple[InvalidEnvironment, ...]:
        """What is wrong with the folders that could not be read."""
        return self._loaded[1]

    def named(self, name: str) -> ExecutionEnvironment:
        """Raises UnknownEnvironment, or InvalidEnvironment if the folder of that name is wrong."""
        for problem in self.broken:
            if f"/{name}/environment.toml" in problem.message:
                raise problem
        return select(self.environments, name)

    def for_file(self, path: Path) -> ExecutionEnvironment:
        """By the ending of a file's name. Raises UnknownEnvironment."""
        return for_file(self.environments, path)

    def ready(
        self,
        environment: ExecutionEnvironment,
        *,
        image: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Ready:
        """Find its image (or `image` instead), with all the tools in it.

        An image that is not on this machine is pulled or built only for who gives `on_progress`.
        Raises EnvironmentUnusable, DeviceUnavailable, and what images raise.
        """
        root, found = find_image(self._settings, image or environment.image, on_progress)
        chosen = environment if image is None else replace(environment, image=image)
        chosen = placed(chosen, root, overriding=image is not None)
        require_tools(chosen, root)
        self._settings.devices.require(chosen.devices)
        root = with_variables(root, chosen.devices)
        return Ready(environment=chosen, root=root, image=found)

    def offers(self) -> list[Offer]:
        """Every environment, with the reason when it can't be used here."""
        return [
            Offer(environment=environment, problem=self._problem(environment))
            for environment in self.environments
        ]

    def _problem(self, environment: ExecutionEnvironment) -> AssayError | None:
        try:
            self.ready(environment)
        except (EnvironmentUnusable, InvalidInput) as problem:
            return problem
        return None
