"""Campaigns, as who starts, follows and applies them sees it: docs/regrade.md."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from assay.domain.campaign import (
    MOST_IN_CAMPAIGN,
    Campaign,
    CampaignState,
    Chosen,
    Former,
)
from assay.domain.errors import Conflict, GradingLost, InvalidInput, InvalidTask, NotFound
from assay.domain.submission import MOST_LETTERS, Receipt, State, Submission
from assay.grading.courses import Courses
from assay.grading.offered import Offered
from assay.grading.recent import Recent
from assay.grading.record import Record
from assay.grading.regrading.report import Counted, Difference, difference, to_apply
from assay.grading.regrading.wish import (
    NEWEST,
    RECORDED,
    Graded,
    Head,
    Selection,
    Which,
    Wish,
)
from assay.grading.results import Verdict
from assay.grading.submissions import Submissions
from assay.storage.submissions.campaign_statements import MOST_NAMED, Candidates
from assay.storage.submissions.campaign_steps import Application
from assay.storage.submissions.rows import new_id

_NOTE_MOST: Final = 2000
_RECENT_SECONDS: Final = 0.9


class _WithRecord(msgspec.Struct, frozen=True):
    """The one part of a result that says with what it was made."""

    record: Record | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a campaign is."""

    total: int = 0
    waiting: int = 0
    """Those that wait to be tried again as well."""
    grading: int = 0
    done: int = 0
    failed: int = 0
    """That could not be graded, by the machine's fault."""
    cancelled: int = 0
    seconds: float | None = None
    """Until all is graded, if nothing else comes; None: unknown. 0: it is."""

    @property
    def is_finished(self) -> bool:
        """Whether nothing will be graded any more."""
        return not self.waiting and not self.grading


@dataclass(frozen=True, kw_only=True, slots=True)
class Applying:
    """How a campaign is to be applied."""

    only_up: bool = False
    """Never lower a grade: only better ones count."""
    unfinished: bool = False
    """Now, although some are not graded yet: these stay as they are, for good."""
    skip_changed: bool = False
    """Leave alone what something else has changed meanwhile, instead of applying nothing."""


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What applying did."""

    applied: int
    """Results that were replaced."""
    kept: int
    """That stay because they are not better, with `only_up`."""
    failed: int
    """That could not be graded again, and stay."""
    unfinished: int
    """That were not graded yet, and stay."""
    changed: int
    """That something else had changed, and stay."""


@dataclass(slots=True)
class Regrades:
    """Shares courses and submissions with the desk."""

    courses: Courses
    submissions: Submissions
    _recent: Recent[Progress] = field(init=False)

    def __post_init__(self) -> None:
        """Nothing is known yet."""
        self._recent = Recent(self.progress, seconds=_RECENT_SECONDS)

    # --- starting ---

    async def start(self, wish: Wish, *, owner: str = "", key: str | None = None) -> Receipt:
        """Choose what is meant, and let it wait to be graded; durable before it returns.

        Raises InvalidInput (nothing is meant, too much, a filter is nonsense), NotFound,
        StorageError.
        """
        _require_sensible(wish, key)
        store = self.submissions.store
        asked = msgspec.json.encode(wish)
        known = None if key is None else await store.campaigns.keyed(owner, key)
        if known is not None and known.asked == asked:
            # Its submissions were chosen then; what would be chosen now may be others.
            return Receipt(id=known.id, new=False)
        chosen = await self._chosen(wish)
        now = store.clock()
        campaign = Campaign(
            id=new_id(now), owner=owner, key=key, course=wish.course, task=wish.task,
            asked=asked, created_at=now,
        )  # fmt: skip
        return await store.campaigns.start(campaign, chosen)

    async def _chosen(self, wish: Wish) -> list[Chosen]:
        self.courses.get(wish.course)
        if wish.task is not None and wish.version == NEWEST:
            self.courses.task(wish.course, wish.task)
        meant = await self._graded(wish)
        digests = {each.submission.task: "" for each in meant}
        for task in digests:
            digests[task] = await asyncio.to_thread(self._version, wish, task)
        chosen = [
            _chosen(each, digests[each.submission.task] or each.digest)
            for each in meant
            if digests[each.submission.task] or wish.version == RECORDED
        ]
        if not chosen:
            raise InvalidInput("no graded submission fits: there is nothing to grade again")
        if len(chosen) > MOST_IN_CAMPAIGN:
            raise _too_many(f"{len(chosen)}")
        return chosen

    async def _graded(self, wish: Wish) -> list[Graded]:
        """What is meant, the oldest first: looked for page by page, and kept if it is chosen."""
        selection = Selection(wish)
        names = wish.submissions
        parts = [names[at : at + MOST_NAMED] for at in range(0, len(names), MOST_NAMED)]
        for ids in parts or [()]:
            async for each in self._candidates(_wanted(wish, ids)):
                selection.add(_graded(each))
                if wish.which is Which.ALL and len(selection) > MOST_IN_CAMPAIGN:
                    raise _too_many(f"more than {MOST_IN_CAMPAIGN}")
        return selection.found()

    async def _candidates(self, wanted: Candidates) -> AsyncIterator[Submission]:
        after: Submission | None = None
        while page := await self.submissions.store.campaigns.candidates(wanted, after=after):
            for each in page:
                yield each
            after = page[-1]

    def _version(self, wish: Wish, task: str) -> str:
        """The digest of the version, which is kept from now on; "": there is none any more."""
        if wish.version == RECORDED:
            return ""
        if wish.version == NEWEST:
            try:
                meant = self.courses.task(wish.course, task)
            except NotFound:
                return ""  # of the whole course those that are still there
        else:
            meant = self._named(wish, task)
        self.courses.keep(meant)
        return meant.bundles[0].digest

    def _named(self, wish: Wish, task: str) -> Offered:
        try:
            return self.courses.version(wish.course, task, wish.version)
        except (GradingLost, InvalidTask) as error:
            raise InvalidInput(
                f"the version {wish.version[:80]} of the task {task} is not here: {error.message}"
            ) from error

    # --- for workers ---

    async def again(self, run: Submission) -> Record | None:
        """The record whose limits hold for a grading; None: those of today do."""
        wish = await self._wish_of(run)
        if wish is None or wish.version != RECORDED or run.original is None:
            return None
        result = await self.submissions.result(run.original)
        return None if result is None else msgspec.json.decode(result, type=_WithRecord).record

    async def _wish_of(self, run: Submission) -> Wish | None:
        campaigns = self.submissions.store.campaigns
        name = await campaigns.of_run(run.id)
        if name is None:
            return None
        campaign = await self.get(name)
        return msgspec.json.decode(campaign.asked, type=Wish)

    # --- following ---

    async def get(self, name: str) -> Campaign:
        """One of them. Raises NotFound."""
        found = await self.submissions.store.campaigns.get(name)
        if found is None:
            raise NotFound(f"there is no campaign {name[:80]}")
        return found

    async def page(
        self, *, courses: Sequence[str] | None = None, before: str | None = None, most: int = 100
    ) -> list[Campaign]:
        """The newest first; `courses`: of these only."""
        return await self.submissions.store.campaigns.page(
            courses=courses, before=before, most=most
        )

    async def progress(self, name: str) -> Progress:
        """How far it is."""
        counts = await self.submissions.store.campaigns.counts(name)
        progress = Progress(
            total=sum(counts.values()),
            waiting=counts.get(State.WAITING, 0),
            grading=counts.get(State.LEASED, 0),
            done=counts.get(State.DONE, 0),
            failed=counts.get(State.FAILED, 0),
            cancelled=counts.get(State.CANCELLED, 0),
            seconds=0.0,
        )
        if progress.is_finished:
            return progress
        seconds = await self._seconds(name)
        return replace(progress, seconds=seconds)

    async def recent_progress(self, name: str) -> Progress:
        """The same, as it was a second ago at most: for many who follow."""
        return await self._recent.get(name)

    async def _seconds(self, name: str) -> float | None:
        """Until the last of it is graded: as far as that one's outlook is known."""
        last = await self.submissions.store.campaigns.last_waiting(name)
        expected = None if last is None else await self.submissions.outlook(last)
        if expected is None or expected.wait_seconds is None or expected.grading_seconds is None:
            return None
        return expected.wait_seconds + expected.grading_seconds

    async def report(self, campaign: Campaign) -> AsyncIterator[Difference]:
        """Every submission of it, in the order in which they were handed in."""
        after = ""
        while page := await self.submissions.store.campaigns.items(campaign.id, after=after):
            for item in page:
                yield difference(item, campaign.state)
            after = page[-1].submission

    async def history(self, submission: str) -> list[Former]:
        """What campaigns have replaced, the oldest first. Raises NotFound."""
        await self.submissions.get(submission)
        return await self.submissions.store.campaigns.history(submission)

    # --- ending ---

    async def apply(self, name: str, how: Applying, *, by: str) -> Campaign:
        """Let its results count, all at once; a second time it says what the first one did.

        Raises NotFound, and Conflict: it was discarded, is not finished, or results that it would
        replace are others by now.
        """
        campaign = await self.get(name)
        counted, runs = Counted(), set[str]()
        if campaign.state is CampaignState.OPEN:  # else whoever keeps it says what that means
            async for each in self.report(campaign):
                counted.add(each)
                runs.update(to_apply([each], only_up=how.only_up))
        summary = counted.summary()
        graded = summary.up + summary.down + summary.same
        if summary.pending and not how.unfinished:
            # Also for those that end before the transaction: their results were not looked at.
            raise Conflict(
                f"{summary.pending} of its submissions are not graded yet: wait, or say that those"
                " which are finished are enough"
            )

        def outcome(applied: int, changed: int) -> bytes:
            return msgspec.json.encode(
                Applied(
                    applied=applied,
                    kept=graded - len(runs),
                    failed=summary.failed,
                    unfinished=summary.pending,
                    changed=changed,
                )
            )

        asked = Application(
            campaign=name, runs=runs, by=by, unfinished=how.unfinished,
            skip_changed=how.skip_changed,
        )  # fmt: skip
        return await self.submissions.store.campaigns.apply(asked, outcome)

    async def discard(self, name: str, *, by: str) -> Campaign:
        """End it; what still waits is not graded. Raises NotFound, and Conflict if applied."""
        return await self.submissions.store.campaigns.discard(name, by)


def applied_of(campaign: Campaign) -> Applied | None:
    """What applying it did; None: it was not."""
    found = campaign.outcome
    return None if found is None else msgspec.json.decode(found, type=Applied)


def wish_of(campaign: Campaign) -> Wish:
    """What was asked for."""
    return msgspec.json.decode(campaign.asked, type=Wish)


def _too_many(count: str) -> InvalidInput:
    return InvalidInput(
        f"{count} submissions fit, and a campaign has at most {MOST_IN_CAMPAIGN}: make several, by"
        " task, by time, or of the last ones only"
    )


def _wanted(wish: Wish, ids: tuple[str, ...]) -> Candidates:
    """What the database leaves out; of the best or last, grades are looked at afterwards."""
    by_worth = wish.which is Which.ALL
    return Candidates(
        course=wish.course, task=wish.task, learner=wish.learner, since=wish.since,
        until=wish.until, ids=ids, below=wish.below if by_worth else None,
        verdicts=wish.verdicts if by_worth else (),
    )  # fmt: skip


def _graded(submission: Submission) -> Graded:
    return Graded(
        submission=submission,
        head=Head(verdict=Verdict(submission.verdict or Verdict.ERROR), grade=submission.grade),
        digest=submission.version or submission.task_hash,
    )


def _chosen(graded: Graded, digest: str) -> Chosen:
    submission = graded.submission
    return Chosen(
        submission=submission.id,
        learner=submission.learner,
        task=submission.task,
        environment=submission.environment,
        task_hash=digest,
        seed=submission.seed,
        revision=submission.revision,
    )


def _require_sensible(wish: Wish, key: str | None) -> None:
    for name in (key, wish.task, wish.learner, wish.version):
        if name is not None and not (name.isprintable() and 0 < len(name) <= MOST_LETTERS):
            raise InvalidInput(f"names have 1 to {MOST_LETTERS} printable letters")
    if len(wish.note) > _NOTE_MOST or "\0" in wish.note:
        raise InvalidInput(f"a note has at most {_NOTE_MOST} letters")
    for number in (wish.since, wish.until, wish.below):
        if number is not None and not math.isfinite(number):
            raise InvalidInput("a filter is no number")
    if wish.version not in (NEWEST, RECORDED) and wish.task is None:
        raise InvalidInput("a version belongs to one task: say which one")
    if not all(name.isprintable() and len(name) <= MOST_LETTERS for name in wish.submissions):
        raise InvalidInput("a submission's id is printable")
    if len(wish.submissions) > MOST_IN_CAMPAIGN:
        raise InvalidInput(f"a campaign has at most {MOST_IN_CAMPAIGN} submissions")
