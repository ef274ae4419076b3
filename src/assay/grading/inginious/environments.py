"""Names of INGInious' containers -> environments of Assay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

OTHERWISE: Final = "python"
"""The machine's own programs, with Python: what most graders are written in."""
ANY: Final = "*"


@dataclass(frozen=True, kw_only=True, slots=True)
class Environments:
    """A table of names; "*" is for those that are not in it."""

    table: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, container: str) -> str:
        """The environment that stands for a container."""
        return self.table.get(container) or self.table.get(ANY) or OTHERWISE
