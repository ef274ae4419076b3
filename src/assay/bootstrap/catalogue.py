"""The environments that there are, and whether they can be used on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from assay.config import Settings
from assay.domain.errors import AssayError, EnvironmentUnusable, InvalidEnvironment
from assay.driver.port import RootFilesystem
from assay.environments import (
    ExecutionEnvironment,
    bundled_folder,
    for_file,
    load_all,
    require_tools,
    select,
)
from assay.images.host import host_image


def root_filesystem(settings: Settings, image: str) -> RootFilesystem:
    """The root file system that an environment's `image` means.

    Raises EnvironmentUnusable for an image that can't be had, DiskFull or Unavailable.
    """
    if image != "host":
        raise EnvironmentUnusable(
            f"the image {image!r} cannot be had on this machine; "
            'say image = "host" in environment.toml for the machine\'s own programs'
        )
    return host_image(settings.state)


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

    def usable_root(self, environment: ExecutionEnvironment) -> RootFilesystem:
        """Its root file system, with all the tools in it. Raises EnvironmentUnusable."""
        root = root_filesystem(self._settings, environment.image)
        require_tools(environment, root)
        return root

    def offers(self) -> list[Offer]:
        """Every environment, with the reason when it can't be used here."""
        return [
            Offer(environment=environment, problem=self._problem(environment))
            for environment in self.environments
        ]

    def _problem(self, environment: ExecutionEnvironment) -> AssayError | None:
        try:
            self.usable_root(environment)
        except EnvironmentUnusable as problem:
            return problem
        return None
