"""What Nomad says of an allocation, and what that means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from assay.domain.errors import CapacityExceeded, RuntimeFailed
from assay.drivers.nomad.job import TASK

_OVER: Final = ("complete", "failed", "lost")
_MOST_WORDS: Final = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Allocation:
    """One sandbox's, as it was when somebody looked."""

    id: str
    sandbox_id: str
    index: int
    """When Nomad made it: of two for one sandbox, the first is that sandbox's."""
    node: str
    """The name of its client."""
    wanted: bool
    """Whether it is to run, for all that Nomad knows."""
    status: str
    """What its client says: pending, running, complete, failed; or Nomad of that: lost, unknown."""
    out_of_memory: bool
    words: str
    """What has happened to it, for people to read."""

    @property
    def runs(self) -> bool:
        """Whether its agent can be reached, or could if its client answered."""
        return self.wanted and self.status in ("running", "unknown")

    @property
    def over(self) -> bool:
        """Whether nothing of it is left, or whatever is left is beyond reach."""
        return self.status in _OVER or (not self.wanted and self.status == "unknown")

    @property
    def failure(self) -> RuntimeFailed | None:
        """Why it will never run, if that is so."""
        if self.wanted and not self.over:
            return None
        return RuntimeFailed("Nomad could not start a sandbox", detail=self.words)


def allocation(found: Mapping[str, Any]) -> Allocation:
    """What a line of a list says."""
    states = found.get("TaskStates")
    state = states.get(TASK) if isinstance(states, dict) else None
    events = [each for each in _list(state, "Events") if isinstance(each, dict)]
    return Allocation(
        id=str(found.get("ID", "")),
        sandbox_id=str(found.get("TaskGroup", "")),
        index=index if isinstance(index := found.get("CreateIndex"), int) else 0,
        node=str(found.get("NodeName", "")),
        wanted=found.get("DesiredStatus") == "run",
        status=str(found.get("ClientStatus", "")),
        out_of_memory=any(_by_memory(each) for each in events),
        words="; ".join(str(each.get("DisplayMessage", "")) for each in events)[-_MOST_WORDS:],
    )


def _by_memory(event: Mapping[str, Any]) -> bool:
    details = event.get("Details")
    return isinstance(details, dict) and details.get("oom_killed") == "true"


def _list(value: object, key: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def unplaced(evaluations: Iterable[Mapping[str, Any]]) -> Mapping[str, CapacityExceeded]:
    """The sandboxes that the scheduler has found no room for, and why."""
    found = {}
    for each in evaluations:
        failed = each.get("FailedTGAllocs")
        for sandbox_id, metrics in failed.items() if isinstance(failed, dict) else ():
            found[str(sandbox_id)] = CapacityExceeded(
                "no client of Nomad has room for a sandbox, or none is fit for it",
                detail=_reasons(metrics if isinstance(metrics, dict) else {}),
            )
    return found


def _reasons(metrics: Mapping[str, Any]) -> str:
    said = [f"{metrics.get('NodesEvaluated', 0)} clients looked at"]
    for key in ("ConstraintFiltered", "DimensionExhausted", "ClassFiltered"):
        counts = metrics.get(key)
        if isinstance(counts, dict):
            said += [f"{name}: {count}" for name, count in counts.items()]
    return "; ".join(said)[:_MOST_WORDS]
