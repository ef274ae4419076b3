"""What `lean` is told about a sandbox: two plans, the first the same for all but for names.

The steps and what they take are those of `agent/lean.c`, which takes them in this order.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from assay.driver.port import SandboxSpec, Secret
from assay.drivers.linux.cgroups import Gift
from assay.drivers.linux.confinement import OOM_SCORE, SOCKET, masked_paths, network_settings
from assay.drivers.linux.devices import folders
from assay.drivers.linux.preparation import KEPT, NOWHERE, PROC, in_place, prepared, within_proc
from assay.drivers.linux.stage import (
    EMPTY,
    GROUPS,
    OWN_DEVICES,
    WRITABLE,
    Staged,
    Step,
    folder,
    node_steps,
    words,
)
from assay.drivers.linux.users import extents

_LISTENER: Final = f"{WRITABLE}/control/{Path(SOCKET).name}"

_FIRST_USER, _IDS = "\1", "\2"
"""What stands in a preparation for what differs from one to the next; no path has it in it."""
_ANYBODY: Final = 1 << 40
"""The same in a completion, for the first user: nobody has that number."""
_ANY_SECRET: Final = Secret(secrets.token_bytes(32))


class Preparation:
    """Everything that does not depend on what a sandbox is to be of; ends with a wait.

    It differs in names and users alone, so it is made once, with marks in their places.
    """

    def __init__(
        self,
        *,
        gifts: Iterable[Gift],
        entrances: Iterable[str],
        learners: Iterable[str],
        mark: str,
        rootless: bool,
    ) -> None:
        """`gifts` are what of its groups shall be the sandbox's own, `entrances` the files that
        process 1 enters by, and `learners` the folders that the agent is given; where `mark` is in
        them, the id goes."""
        self._mark = mark.encode()
        self._plan = words(_preparation(gifts, entrances, learners, rootless=rootless))

    def of(self, sandbox_id: str, first_user: int) -> bytes:
        """The plan for one sandbox."""
        ids = "".join(f"{here} {there} {count}\n" for here, there, count in extents(first_user))
        plan = self._plan.replace(self._mark, sandbox_id.encode())
        plan = plan.replace(_FIRST_USER.encode(), str(first_user).encode())
        return plan.replace(_IDS.encode(), ids.encode())


def _preparation(
    gifts: Iterable[Gift], entrances: Iterable[str], learners: Iterable[str], *, rootless: bool
) -> Iterator[Step]:
    for each in gifts:
        # Files come after their folder: to find them by their whole paths takes far longer.
        place = each.path if each.mode else Path(each.path).name
        yield "hand", place, str(each.mode or 0), _FIRST_USER
    yield "put", "/proc/self/oom_score_adj", str(OOM_SCORE)
    # Whoever mounts its /proc counts groups as the host does: the sandbox's first is another there.
    yield from prepared(
        rootless=rootless, root=_FIRST_USER, settings=_own_settings(), masks=_masks()
    )
    # All that was made so far is counted for nobody: to count it costs a tenth of making it.
    yield from (("enter", file) for file in entrances)
    yield ("top",)
    yield from (("groups", each, GROUPS) for each in learners)
    yield ("wait",)


def _own_settings() -> Iterator[Step]:
    """Of its users and its network."""
    yield "users", PROC, _IDS
    for name, value in network_settings().items():
        yield "put", f"{PROC}/sys/{name.replace('.', '/')}", value


def _masks() -> Iterator[Step]:
    """Without what would tell of the host."""
    for path in masked_paths():
        yield "show", EMPTY if Path(path).is_dir() else NOWHERE, within_proc(path)


def completion(
    shown: Staged,
    *,
    first_user: int,
    command: Sequence[str],
    wide_filter: bytes | None = None,
) -> Iterator[Step]:
    """What is the sandbox's own; ends with its agent. `wide_filter` is for one with devices of the
    host."""
    yield from shown.steps
    targets = [node.target for node in shown.nodes]
    yield from (folder(f"{OWN_DEVICES}{each.removeprefix('/dev')}") for each in folders(targets))
    yield from node_steps(
        shown.nodes, [f"{OWN_DEVICES}{each.removeprefix('/dev')}" for each in targets]
    )
    yield "listen", _LISTENER, str(first_user)
    yield from in_place(shown)
    yield ("pivot",)
    yield ("become",)
    yield "capabilities", KEPT
    yield ("filter",) if wide_filter is None else ("filter_of", wide_filter.hex())
    yield "run", *command


class Completions:
    """The second plans, each made once in a second for all that are of the same.

    They differ in users and secrets alone, and to make one takes a tenth of what the server does
    for a sandbox. What is on the host may be another by the next second.
    """

    def __init__(self, make: Callable[[SandboxSpec, int], bytes]) -> None:
        """`make` makes the one of a sandbox with that first user."""
        self._make = make
        self._second = 0
        self._made: dict[int, tuple[SandboxSpec, bytes]] = {}

    def of(self, spec: SandboxSpec, first_user: int) -> bytes:
        """The plan for one sandbox, without devices of the host."""
        root, secret = spec.root, spec.secret.reveal().hex()
        plan = self._for_anybody(spec).replace(_ANY_SECRET.reveal().hex().encode(), secret.encode())
        for user in {root.user, root.group, 0}:
            plan = plan.replace(b"%d" % (_ANYBODY + user), b"%d" % (first_user + user))
        return plan

    def _for_anybody(self, spec: SandboxSpec) -> bytes:
        if self._second != (second := int(time.monotonic())):
            self._made.clear()
            self._second = second
        found = self._made.get(id(spec.root))  # which it holds on to
        if found is not None and _are_alike(spec, found[0]):
            return found[1]
        plan = self._make(replace(spec, secret=_ANY_SECRET), _ANYBODY)
        self._made[id(spec.root)] = spec, plan
        return plan


def _are_alike(one: SandboxSpec, other: SandboxSpec) -> bool:
    """Of one root file system."""
    return one.limits == other.limits and one.unclaimed_seconds == other.unclaimed_seconds
