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
