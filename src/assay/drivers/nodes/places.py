"""Which sandbox is on which node, as far as it was seen."""

from __future__ import annotations

from collections.abc import Collection, Iterable


class Places:
    """From a sandbox's id to the name of its node. What is known of a node that does not answer
    stays: silence says nothing of its sandboxes.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, str] = {}
        self._of: dict[str, set[str]] = {}

    def node_of(self, sandbox_id: str) -> str | None:
        """Where it is, if that is known."""
        return self._nodes.get(sandbox_id)

    def of(self, node: str) -> Collection[str]:
        """The sandboxes of a node."""
        return self._of.get(node, set())

    def put(self, sandbox_id: str, node: str) -> bool:
        """It is there. False: it is known to be elsewhere, so that this node does not say the
        truth.
        """
        if self._nodes.setdefault(sandbox_id, node) != node:
            return False
        self._of.setdefault(node, set()).add(sandbox_id)
        return True

    def remove(self, sandbox_id: str) -> None:
        """It is gone."""
        node = self._nodes.pop(sandbox_id, None)
        if node is not None:
            self._of[node].discard(sandbox_id)

    def listed(self, node: str, before: Collection[str], now: Iterable[str]) -> None:
        """A node has told of all that it has; `before` are those known when it was asked: what it
        made meanwhile may not be among them.
        """
        there = frozenset(now)
        for sandbox_id in frozenset(before) - there:
            self.remove(sandbox_id)
        for sandbox_id in there:
            self.put(sandbox_id, node)

    def forget(self, node: str) -> None:
        """A node is none of ours any more."""
        for sandbox_id in self._of.pop(node, set()):
            self._nodes.pop(sandbox_id, None)
