"""Who this server is to nodes: what it shows, and the epoch of what it has."""

from __future__ import annotations

from dataclasses import dataclass

from assay.driver.port import Installation
from assay.link.claims import claim_of
from assay.link.messages import VERSION, Control, Hello, Root, Stream


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """A server that is alone, of a machine and a state folder; or one of an installation's."""

    scope: str
    installation: Installation | None = None

    @property
    def epoch(self) -> int:
        """Of what this server has; 0 for one that is alone, which nobody succeeds elsewhere."""
        return 0 if self.installation is None else self.installation.epoch()

    def hello(self, purpose: Control | Stream | Root, node: str) -> Hello:
        """How it begins with a node whose certificate has this name."""
        claim = "" if self.installation is None else claim_of(self.installation.key, node)
        return Hello(version=VERSION, scope=self.scope, claim=claim, purpose=purpose)
