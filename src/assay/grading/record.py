"""What a grading depended on, so that it can be done again, and compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import assay
from assay.domain.limits import ExecutionLimits, SandboxLimits
from assay.environments.document import Sandbox
from assay.environments.served import Blueprint


@dataclass(frozen=True, kw_only=True, slots=True)
class Used:
    """The sandboxes of one environment that a grading had."""

    environment: str
    image: str
    """As it is called, such as "docker:debian:12"; empty: that of the language."""
    digest: str
    """Of its contents; of this machine's own programs: of the packages that are installed."""
    sandbox: SandboxLimits
    execution: ExecutionLimits
    """The environment's, for what has no limits of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """With the task's files and the learner's, all that a grade depends on, but for the machine."""

    grader: str
    """The version of Assay."""
    digest: str
    """Of the task's files."""
    seed: int
    factor: float = 1.0
    """What it counted, being late."""
    limits: Mapping[str, ExecutionLimits] = field(default_factory=dict)
    """Of the learner's "program" by itself, and of what "tests" call; those that were run."""
    used: tuple[Used, ...] = ()
    """By the names of environments; empty where nothing was run."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """What a grader of INGInious' was told besides: "@attempts", "@state", "@time"."""

    def sandbox_of(self, environment: str) -> Sandbox | None:
        """The limits of that environment's sandboxes, as a task would ask for them."""
        for each in self.used:
            if each.environment == environment:
                found = each.sandbox
                return Sandbox(
                    memory=f"{found.memory_bytes // 1024} KiB",
                    processes=found.processes,
                    cpus=found.cpus,
                    disk=f"{found.disk_bytes // 1024} KiB",
                    inodes=found.inodes,
                )
        return None


@dataclass(slots=True)
class Ledger:
    """Notes what a grading uses."""

    limits: dict[str, ExecutionLimits] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    _used: dict[str, Used] = field(default_factory=dict)

    def uses(self, blueprint: Blueprint, *, first: bool = False) -> None:
        """A sandbox was taken; with `first` only the first of an environment counts."""
        served = blueprint.environment
        name = served.name.partition("~")[0]  # what was derived for other limits is called a~b
        if first and name in self._used:
            return
        self._used[name] = Used(
            environment=name,
            image=served.image,
            digest=blueprint.root.digest,
            sandbox=served.sandbox,
            execution=served.execution,
        )

    def record(self, *, digest: str, seed: int, factor: float) -> Record:
        """All of it."""
        return Record(
            grader=assay.__version__,
            digest=digest,
            seed=seed,
            factor=factor,
            limits=dict(self.limits),
            used=tuple(self._used[name] for name in sorted(self._used)),
            inputs=self.inputs,
        )


def differences(old: Record | None, new: Record | None) -> Iterator[str]:
    """In what two gradings differ besides their results, in words."""
    if old is None or new is None:
        yield "what it was graded with before is not known"
        return
    if old.digest != new.digest:
        yield "another version of the task"
    if old.grader != new.grader:
        yield f"Assay {new.grader} instead of {old.grader}"
    if old.seed != new.seed:
        yield "another seed"
    if old.factor != new.factor:
        yield f"it counts {100 * new.factor:g} % instead of {100 * old.factor:g} %"
    if old.inputs != new.inputs:
        yield "the grader was told something else of the learner's earlier submissions"
    if any(old.limits[name] != new.limits[name] for name in old.limits.keys() & new.limits.keys()):
        yield "other limits of the learner's program"
    before = {each.environment: each for each in old.used}
    for each in new.used:
        if (known := before.get(each.environment)) is not None:
            yield from _of_environment(known, each)


def _of_environment(old: Used, new: Used) -> Iterator[str]:
    if old.digest != new.digest:
        yield f"another image of {new.environment}: {new.digest[:24]} instead of {old.digest[:24]}"
    if old.sandbox != new.sandbox:
        yield f"other limits of sandboxes of {new.environment}"
    if old.execution != new.execution:
        yield f"other limits of executions of {new.environment}"
