"""Everybody in turn, round by round: the machine's unrest hits all alike."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from assay.bench import host
from assay.bench.figures import Remark, Report
from assay.bench.startup.crowds import DriversCrowds, Entrant, PeersCrowds
from assay.bench.startup.cycles import live
from assay.bench.startup.findings import (
    ANOTHER_IMAGE,
    FAILED,
    FEWER,
    LEFT_OUT,
    RESOURCE_LIMIT,
    Findings,
    report,
)
from assay.bench.startup.plan import Plan, Trial, expected_seconds, in_words
from assay.bench.startup.workloads import WORKLOADS, Workload
from assay.bench.subject import Peer, Progress, Subject, explained
from assay.domain.errors import AssayError

_BARE: Final = ("/usr/bin/true",)
_SECONDS_FOR_A_ROUND: Final = 240.0
_WEIGHED_LEAST: Final = 10
"""What fewer take of the machine's memory is lost in its noise."""
_SECONDS_TO_REST: Final = 5.0
_SECONDS_TO_REST_FOR_ONE: Final = 0.3
_FAILURES_MOST: Final = 2
"""Of one in one row of the table; then it is left out of the rest of that row."""


async def measure(
    subjects: Sequence[Subject],
    *,
    plan: Plan,
    progress: Progress,
    peers: Sequence[Peer] = (),
    remarks: Sequence[Remark] = (),
    announce: Callable[[str], None] = lambda _: None,
) -> Report:
    """Measure them all; `remarks` are on who could not even begin, and are handed on.

    `announce` is told how long it will take, once each has made its first sandbox.
    """
    table = _Table(subjects, plan, progress)
    table.found.remarks += remarks
    await table.admit(peers)
    announce(f"{in_words(await table.try_each())} for {len(table.entrants)} technologies")
    for count in sorted({each for entrant in table.entrants for each in table.amounts(entrant)}):
        await table.crowds(count)
    for workload in WORKLOADS:
        await table.lives(workload)
    return report(table.found, subjects, plan)


class _Table:
    """Who takes part, and what was found."""

    def __init__(self, subjects: Sequence[Subject], plan: Plan, progress: Progress) -> None:
        self.found = Findings()
        self.entrants: list[Entrant] = [DriversCrowds(subject) for subject in subjects]
        self._subjects = list(subjects)
        self._unable: set[tuple[str, str]] = set()
        self._plan = plan
        self._progress = progress

    async def admit(self, peers: Sequence[Peer]) -> None:
        """Those technologies that are here."""
        root = self._subjects[0].root if self._subjects else None
        for peer in peers:
            health = await peer.probe()
            if health.works and root is not None:
                self.entrants.append(PeersCrowds(peer, root))
                continue
            self.found.remark(peer.name, "", LEFT_OUT, explained(health.problems))

    def amounts(self, entrant: Entrant) -> tuple[int, ...]:
        """How many sandboxes at once it is asked for."""
        return self._plan.amounts_for(entrant.most)

    async def try_each(self) -> float:
        """The first sandbox finds nothing in the caches, and does not count; seconds for all."""
        trials = []
        everybody = list(self.entrants)
        for number, entrant in enumerate(everybody):
            trial = await self._try(entrant, "first sandbox") or await self._try(entrant, "")
            if trial is None:
                self._dismiss(entrant)
            else:
                trials.append(trial)
            self._progress("the first of each", number + 1, len(everybody))
        self._note_differences()
        return expected_seconds(self._plan, trials)

    async def _try(self, entrant: Entrant, what: str) -> Trial | None:
        """None if it failed, which may be bad luck, as one start of gVisor in hundreds has."""
        with self._noting(entrant.name, what):
            async with asyncio.timeout(_SECONDS_FOR_A_ROUND):
                first = await entrant.round(1, weigh=False)
            return Trial(
                create=first.answered or first.idle, destroy=first.gone,
                most=entrant.most, work=await self._try_work(entrant),
            )  # fmt: skip
        return None

    async def _try_work(self, entrant: Entrant) -> float:
        if not isinstance(entrant, DriversCrowds) or self._plan.cycles == 0:
            return 0.0
        began = time.perf_counter()
        for workload in WORKLOADS:
            with self._noting(entrant.name, workload.name) as failed:
                async with asyncio.timeout(_SECONDS_FOR_A_ROUND):
                    await live(entrant.subject, workload)
            if failed:
                self._unable.add((entrant.name, workload.name))
        return time.perf_counter() - began

    def _dismiss(self, entrant: Entrant) -> None:
        """It could not do the least."""
        self.entrants.remove(entrant)
        self._subjects = [each for each in self._subjects if each.name != entrant.name]
        if not isinstance(entrant, DriversCrowds):  # nobody has asked for it by name
            self.found.remarks = [
                replace(each, kind=LEFT_OUT) if each.driver == entrant.name else each
                for each in self.found.remarks
            ]

    def _note_differences(self) -> None:
        for subject in self._subjects:
            if subject.image:
                self.found.remark(subject.name, "image", ANOTHER_IMAGE, subject.image)
            for count in self._plan.at_once:
                if subject.most is not None and count > subject.most.count:
                    self.found.remark(
                        subject.name, f"{count} at once", RESOURCE_LIMIT, subject.most.reason
                    )

    # --- rounds ----------------------------------------------------------------------------------

    async def crowds(self, count: int) -> None:
        """All rounds of so many at once."""
        what = f"{count} at once"
        everybody = [each for each in self.entrants if count in self.amounts(each)]
        failures = dict.fromkeys((each.name for each in everybody), 0)
        rounds = self._plan.rounds_of(count)
        for done in range(rounds):
            for number, entrant in enumerate(everybody):
                if failures[entrant.name] < _FAILURES_MOST:
                    with self._noting(entrant.name, what) as failed:
                        await self._crowd(entrant, count)
                    failures[entrant.name] += bool(failed)
                self._progress(what, done * len(everybody) + number + 1, rounds * len(everybody))

    async def _crowd(self, entrant: Entrant, count: int) -> None:
        await self._settled(count)
        weigh = count >= _WEIGHED_LEAST and count == max(self.amounts(entrant))
        async with asyncio.timeout(_SECONDS_FOR_A_ROUND):
            found = await entrant.round(count, weigh=weigh)
            self.found.crowds.setdefault((entrant.name, count), []).append(found)
            if count == 1 and isinstance(entrant, DriversCrowds):
                await self._bare(entrant.subject)

    async def _bare(self, subject: Subject) -> None:
        """The technology alone, right beside, and after the same rest.

        Kernels take 10 ms to move a process between control groups once nobody has for a moment.
        """
        if subject.bare is not None:
            await self._settled(1)
            seconds = await subject.bare(subject.specification(), _BARE) / 1e9
            self.found.bare.setdefault(subject.name, []).append(seconds)

    async def lives(self, workload: Workload) -> None:
        """All rounds of lives with this work."""
        everybody = [
            each for each in self._subjects if (each.name, workload.name) not in self._unable
        ]
        failures = dict.fromkeys((each.name for each in everybody), 0)
        spent = dict.fromkeys(failures, 0.0)
        most = self._plan.seconds_for_lives / len(WORKLOADS)
        for done in range(self._plan.cycles):
            for number, subject in enumerate(everybody):
                began = time.perf_counter()
                if failures[subject.name] < _FAILURES_MOST and spent[subject.name] < most:
                    with self._noting(subject.name, workload.name) as failed:
                        await self._life(subject, workload)
                    failures[subject.name] += bool(failed)
                spent[subject.name] += time.perf_counter() - began
                self._progress(
                    workload.name,
                    done * len(everybody) + number + 1,
                    self._plan.cycles * len(everybody),
                )
        slow = {name: seconds for name, seconds in spent.items() if seconds >= most}
        self._note_fewer(workload, slow)

    def _note_fewer(self, workload: Workload, spent: Mapping[str, float]) -> None:
        for name, seconds in spent.items():
            lived = len(self.found.cycles.get((name, workload.name), ()))
            if 0 < lived < self._plan.cycles:
                reason = f"{lived} of {self._plan.cycles}, as they took {seconds:.0f} s"
                self.found.remark(name, workload.name, FEWER, reason)

    async def _life(self, subject: Subject, workload: Workload) -> None:
        await self._settled(1)
        async with asyncio.timeout(_SECONDS_FOR_A_ROUND):
            phases = await live(subject, workload)
        self.found.cycles.setdefault((subject.name, workload.name), []).append(phases)

    async def _settled(self, count: int) -> None:
        """Nothing is prepared while something else is measured, nor is another's mess removed."""
        for subject in self._subjects:
            await subject.settle(count)
        await host.rest(_SECONDS_TO_REST if count >= _WEIGHED_LEAST else _SECONDS_TO_REST_FOR_ONE)

    @contextlib.contextmanager
    def _noting(self, driver: str, what: str) -> Iterator[list[str]]:
        """A failure is a remark, and ends neither the run nor the others' turns."""
        failed: list[str] = []
        try:
            yield failed
        except TimeoutError:
            failed.append(f"not done within {_SECONDS_FOR_A_ROUND:g} seconds")
        except (AssayError, OSError) as error:
            failed.append(_in_one_line(error))
        for reason in failed:
            self.found.remark(driver, what, FAILED, reason)


def _in_one_line(error: AssayError | OSError) -> str:
    detail = error.detail if isinstance(error, AssayError) else ""
    text = " ".join(": ".join(filter(None, (str(error), detail))).split())
    return text if len(text) <= 300 else f"{text[:300]}…"
