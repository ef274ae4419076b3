"""Sandboxes on nodes that are to be emptied: somebody has cordoned these, or drains them.

Nodes are of no namespace, so that to see them is a right of its own. Who has it not is told so by
`assay doctor`, and does without.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Collection, Mapping
from typing import Final

from assay.domain.errors import AssayError
from assay.drivers.kubernetes.api import Kubernetes
from assay.drivers.kubernetes.found import pod_found
from assay.drivers.kubernetes.options import Options
from assay.drivers.kubernetes.pod import sandbox_of, selector

_SECONDS_TO_NEXT_LOOK: Final = 5.0
_SECONDS_AFTER_A_FAILURE: Final = 60.0
"""Most often it is a right that is lacking; each time stands in the cluster's audit log."""
_CORDON: Final = "node.kubernetes.io/unschedulable"
"""The taint of a node that takes no more pods."""


def stays_away(options: Options) -> bool:
    """Whether new sandboxes are kept off cordoned nodes. One that is not may come to be where the
    one was that it is to take the place of, again and again.
    """
    return not any(map(_bears_a_cordon, options.tolerations))


def _bears_a_cordon(toleration: Mapping[str, str]) -> bool:
    if toleration.get("effect", "NoSchedule") not in ("", "NoSchedule"):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key", "") in ("", _CORDON)
    return toleration.get("key") == _CORDON and not toleration.get("value")


class Departures:
    """What is known of the nodes that one driver's sandboxes are on."""

    def __init__(self, kubernetes: Kubernetes, mark: Callable[[], str]) -> None:
        self._kubernetes = kubernetes
        self._mark = mark
        self._leaving: Collection[str] = ()
        self._task: asyncio.Task[None] | None = None

    def known(self) -> Collection[str]:
        """Ids of sandboxes that are to leave, as of the last look; who asks makes looks begin."""
        if self._task is None:
            self._task = asyncio.create_task(self._look_again())
        return self._leaving

    async def _look_again(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            seconds = _SECONDS_TO_NEXT_LOOK
            try:
                self._leaving = await self._look()
            except AssayError:  # who is asked for more hears of it, if there is more to it
                seconds = _SECONDS_AFTER_A_FAILURE
            except Exception as error:  # what is wrong with one look may be right in the next
                seconds = _SECONDS_AFTER_A_FAILURE
                loop.call_exception_handler(
                    {"message": "Kubernetes' cordoned nodes were not found", "exception": error}
                )
            await asyncio.sleep(seconds)

    async def _look(self) -> Collection[str]:
        nodes = await self._kubernetes.cordoned()
        of = selector(self._mark())
        found = await asyncio.gather(*(self._kubernetes.pods(of, node=each) for each in nodes))
        names = (pod_found(each).name for each in itertools.chain.from_iterable(found))
        return frozenset(filter(None, map(sandbox_of, names)))

    async def aclose(self) -> None:
        """Look no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
