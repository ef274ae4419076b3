"""The transactions of campaigns: each function is a step, in the storage's thread."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

from assay.domain.campaign import Campaign, CampaignState, Chosen
from assay.domain.errors import Conflict, InvalidInput, NotFound
from assay.domain.line import LineKey
from assay.domain.submission import NewSubmission, Priority, Receipt, State
from assay.storage.kind import Cursor, Kind
from assay.storage.rows import AnyRow
from assay.storage.submissions.campaign_statements import OPEN, CampaignStatements
from assay.storage.submissions.entrance import Entrance
from assay.storage.submissions.outbox import Outbox

_NAMED: Final = 5
"""Submissions that an error names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Application:
    """What is to replace what."""

    campaign: str
    runs: Collection[str]
    """Gradings that are over, whose results are to count."""
    by: str
    unfinished: bool = False
    """Apply although some are not over: these are cancelled."""
    skip_changed: bool = False
    """Leave alone what something else has changed, instead of applying nothing."""


Outcome = Callable[[int, int], bytes]
"""From how many were applied, and left alone because they were changed, to what is kept of it."""


class CampaignSteps:
    """They share the statements, the entrance to the queue, and what webhooks are told."""

    def __init__(self, kind: Kind, entrance: Entrance, outbox: Outbox) -> None:
        self._kind = kind
        self._entrance = entrance
        self._outbox = outbox
        self.sql = CampaignStatements(kind.engine.dialect)

    def start(
        self, cursor: Cursor, campaign: Campaign, chosen: Sequence[Chosen], now: float
    ) -> Receipt:
        """Keep it with all its gradings, which wait from now on; all of it or nothing."""
        known = self._known(cursor, campaign)
        if known is not None:
            return known
        self.sql.add.run(cursor, {**asdict(campaign), "state": campaign.state.value})
        receipts = self._entrance.add(cursor, [_run_of(campaign, each) for each in chosen], now)
        items = []
        for each, receipt in zip(chosen, receipts, strict=True):
            assert isinstance(receipt, Receipt)  # it has no key
            items.append(
                {
                    "run": receipt.id,
                    "campaign": campaign.id,
                    "submission": each.submission,
                    "revision": each.revision,
                }
            )
        self.sql.add_item.run_all(cursor, items)
        return Receipt(id=campaign.id, new=True)

    def _known(self, cursor: Cursor, campaign: Campaign) -> Receipt | None:
        if campaign.key is None:
            return None
        found = self.sql.keyed.rows(cursor, {"owner": campaign.owner, "key": campaign.key})
        if not found:
            return None
        before = campaign_of(found[0])
        if (before.course, before.task, before.asked) != (
            campaign.course, campaign.task, campaign.asked
        ):  # fmt: skip
            raise InvalidInput(
                f"the key {campaign.key!r} belongs to another campaign: each needs one of its own"
            )
        return Receipt(id=before.id, new=False)

    def apply(self, cursor: Cursor, asked: Application, outcome: Outcome, now: float) -> Campaign:
        """Let the results count, all in one transaction. Of one that was applied: as it was.

        Raises NotFound, and Conflict: it was discarded, is not finished, or what it would replace
        is not what it was compared with.
        """
        campaign = self._found(cursor, asked.campaign)
        if campaign.state is CampaignState.APPLIED:
            return campaign
        if campaign.state is CampaignState.DISCARDED:
            raise Conflict("this campaign was discarded: start another one")
        self._require_finished(cursor, asked)
        rows = [
            row
            for row in self.sql.revision.rows(cursor, {"key": campaign.id})
            if row["run"] in asked.runs
        ]
        changed = [row for row in rows if row["revision"] != row["current"]]
        if changed and not asked.skip_changed:
            raise Conflict(_changed(changed))
        same = [row for row in rows if row["revision"] == row["current"]]
        self._replace(cursor, campaign, same, asked.by, now)
        self._cancel_runs(cursor, campaign, now)
        said = outcome(len(rows) - len(changed), len(changed))
        return self._end(cursor, campaign, CampaignState.APPLIED, asked.by, said, now)

    def _require_finished(self, cursor: Cursor, asked: Application) -> None:
        counts = self.counts(cursor, asked.campaign)
        left = counts.get("waiting", 0) + counts.get("leased", 0)
        if left and not asked.unfinished:
            raise Conflict(
                f"{left} of its submissions are not graded yet: wait, or say that those which are"
                " finished are enough"
            )

    def _replace(
        self, cursor: Cursor, campaign: Campaign, rows: Sequence[AnyRow], by: str, now: float
    ) -> None:
        values = [
            {
                "key": row["submission"],
                "run": row["run"],
                "nth": row["revision"],
                "of_campaign": campaign.id,
                "now": now,
                "by": by,
            }
            for row in rows
        ]
        for statement, names in (
            (self.sql.keep_former, ("key", "nth", "of_campaign", "now", "by")),
            (self.sql.replace, ("key", "run")),
            (self.sql.replace_archive, ("key", "run", "nth")),
            (self.sql.revise, ("key", "run")),
        ):
            statement.run_all(cursor, [{name: each[name] for name in names} for each in values])
        told = [(row["submission"], campaign.course, State.DONE) for row in rows]
        self._outbox.add(cursor, told, now)

    def discard(self, cursor: Cursor, name: str, by: str, now: float) -> Campaign:
        """End it without a trace in anybody's grade. Raises NotFound, and Conflict if applied."""
        campaign = self._found(cursor, name)
        if campaign.state is CampaignState.DISCARDED:
            return campaign
        if campaign.state is CampaignState.APPLIED:
            raise Conflict("this campaign was applied: what it replaced is in the history")
        self._cancel_runs(cursor, campaign, now)
        return self._end(cursor, campaign, CampaignState.DISCARDED, by, None, now)

    def _cancel_runs(self, cursor: Cursor, campaign: Campaign, now: float) -> None:
        counted = self.sql.waiting_lines.rows(cursor, {"key": campaign.id})
        fewer = {LineKey(row["priority"], row["course"]): int(row["count"]) for row in counted}
        lines = self._entrance.lines(cursor, fewer)
        self.sql.cancel_runs.run(cursor, {"key": campaign.id, "now": now})
        moved = [
            replace(line, waiting=line.waiting - fewer[key]) for key, line in lines.items()
        ]  # fmt: skip
        self._entrance.keep_lines(cursor, moved, lines)

    def _end(
        self,
        cursor: Cursor,
        campaign: Campaign,
        state: CampaignState,
        by: str,
        outcome: bytes | None,
        now: float,
    ) -> Campaign:
        self.sql.end.run(
            cursor,
            {
                "key": campaign.id,
                "state_before": OPEN,
                "new_state": state.value,
                "new_ended_at": now,
                "new_ended_by": by,
                "new_outcome": outcome,
            },
        )
        return replace(campaign, state=state, ended_at=now, ended_by=by, outcome=outcome)

    def _found(self, cursor: Cursor, name: str) -> Campaign:
        found = self.sql.get.rows(cursor, {"key": name})
        if not found:
            raise NotFound(f"there is no campaign {name[:80]}")
        return campaign_of(found[0])

    def counts(self, cursor: Cursor, name: str) -> dict[str, int]:
        """How many of its gradings are in each state."""
        rows = self.sql.counts.rows(cursor, {"key": name})
        return {row["state"]: int(row["count"]) for row in rows}


def _run_of(campaign: Campaign, chosen: Chosen) -> NewSubmission:
    return NewSubmission(
        course=campaign.course,
        task=chosen.task,
        learner=chosen.learner,
        content=b"",
        owner=campaign.owner,
        priority=Priority.REGRADE,
        environment=chosen.environment,
        task_hash=chosen.task_hash,
        seed=chosen.seed,
        original=chosen.submission,
    )


def _changed(rows: Sequence[AnyRow]) -> str:
    named = ", ".join(str(row["submission"]) for row in rows[:_NAMED])
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return (
        f"{len(rows)} of its submissions have another result by now ({named}{more}): start the"
        " campaign anew, or apply it without these"
    )


def campaign_of(row: AnyRow) -> Campaign:
    """A row as a campaign."""
    outcome = None if row["outcome"] is None else bytes(row["outcome"])
    known = {**row, "asked": bytes(row["asked"]), "outcome": outcome}
    return Campaign(**{**known, "state": CampaignState(row["state"])})
