"""What every command gets from the flags before its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay.config import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Flags:
    """`assay --state … --environments … COMMAND`; a command takes it by `click.pass_obj`."""

    state: str | None = None
    environments: tuple[str, ...] = ()

    def settings(self, *, driver: str | None = None) -> Settings:
        """Read the settings; `driver` is the command's own flag. Raises InvalidInput."""
        from assay.config import read_settings

        return read_settings(state=self.state, environments=self.environments, driver=driver)

    def settings_for_sandboxes(self, *, driver: str | None = None) -> Settings:
        """The same, and this process may make sandboxes from now on: for who isn't root, in a user
        namespace. To be called before anything else. Raises DriverUnavailable, too.
        """
        from assay.bootstrap import prepare_process

        settings = self.settings(driver=driver)
        prepare_process(settings)
        return settings
