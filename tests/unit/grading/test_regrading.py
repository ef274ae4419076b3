"""What a campaign means and would change, as functions of data."""

import base64
import csv
import io
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from assay.api.regrades import ROUTES
from assay.domain.campaign import CampaignState, Item
from assay.domain.errors import InvalidInput
from assay.domain.limits import ExecutionLimits, SandboxLimits
from assay.domain.submission import State
from assay.grading import record
from assay.grading.complete import Complete, complete, read
from assay.grading.kinds import Kinds
from assay.grading.native import NativeTask
from assay.grading.offered import Content, Offered
from assay.grading.record import Record, Used
from assay.grading.regrading.report import Change, Counted, difference, to_apply
from assay.grading.regrading.table import COLUMNS, csv_row, markdown_row
from assay.grading.results import PartResult, Result, Verdict
from assay.grading.tasks import Bundle
from assay.grading.tasks.bundle import digest_of

USED = Used(
    environment="python", image="", digest="old", sandbox=SandboxLimits(),
    execution=ExecutionLimits(),
)  # fmt: skip
TASK = b"""\
title = "Sum"
environment = "python"
files = ["a.py"]
parts = [{ id = "q", kind = "cases", cases = [{ name = "c", expected = "1" }] }]
"""
RECORD = Record(
    grader="1", digest="sha256:a", seed=3, used=(USED,), limits={"program": ExecutionLimits()}
)


def result(grade: float | None, **more: object) -> bytes:
    verdict = Verdict.ERROR if grade is None else Verdict.PARTIAL
    return msgspec.json.encode(Result(verdict=verdict, grade=grade, **more))  # type: ignore[arg-type]


def item(**more: object) -> Item:
    known: dict[str, object] = {
        "run": "r", "submission": "s", "learner": "ada", "task": "sum", "submitted_at": 0.0,
        "task_hash": "h", "state": State.DONE, "revision": 0, "current": 0,
        "old": result(50.0), "new": result(60.0),
    }  # fmt: skip
    return Item(**{**known, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "state", "change"),
    [
        (50.0, 60.0, State.DONE, Change.UP),
        (None, 0.0, State.DONE, Change.UP),
        (50.0, 40.0, State.DONE, Change.DOWN),
        (50.0, 50.0 + 1e-9, State.DONE, Change.SAME),
        (50.0, None, State.DONE, Change.FAILED),
        (None, None, State.FAILED, Change.FAILED),
        (50.0, None, State.WAITING, Change.PENDING),
        (50.0, None, State.LEASED, Change.PENDING),
        (50.0, None, State.CANCELLED, Change.CANCELLED),
    ],
)
def test_a_change_has_one_name(
    old: float | None, new: float | None, state: State, change: Change
) -> None:
    known = None if not state.is_over or state is State.CANCELLED else result(new)
    assert difference(item(old=result(old), new=known, state=state)).change is change


def test_an_error_is_never_applied_and_neither_is_what_is_lower_if_that_is_wished() -> None:
    changes = [
        difference(item(run=str(number), new=result(grade)))
        for number, grade in enumerate((60.0, 50.0, 40.0, None))
    ]
    assert to_apply(changes, only_up=False) == ["0", "1", "2"]
    assert to_apply(changes, only_up=True) == ["0"]
    counted = Counted()
    for each in changes:
        counted.add(each)
    summary = counted.summary()
    assert (summary.up, summary.same, summary.down, summary.failed) == (1, 1, 1, 1)
    assert (summary.old_mean, summary.new_mean) == (50.0, 50.0)


def test_only_parts_that_differ_are_told() -> None:
    same = PartResult(id="same", verdict=Verdict.PASSED, score=1.0)
    old = replace(same, id="other")
    new = replace(old, verdict=Verdict.FAILED, score=0.0)
    gone, fresh = replace(same, id="gone"), replace(same, id="fresh")
    found = difference(
        item(old=result(1.0, parts=(same, old, gone)), new=result(2.0, parts=(same, new, fresh)))
    )
    assert {part.id: (part.old_verdict, part.new_verdict) for part in found.parts} == {
        "other": ("passed", "failed"), "gone": ("passed", None), "fresh": (None, "passed"),
    }  # fmt: skip


def test_what_else_differs_is_told() -> None:
    assert list(record.differences(RECORD, RECORD)) == []
    assert list(record.differences(None, RECORD)) == ["what it was graded with before is not known"]
    other = replace(
        RECORD, digest="sha256:b", grader="2", seed=4, factor=0.5,
        used=(replace(USED, digest="new", sandbox=SandboxLimits(processes=1)),),
        limits={"program": ExecutionLimits(wall_seconds=1)},
    )  # fmt: skip
    told = list(record.differences(RECORD, other))
    assert len(told) == 7
    assert "another image of python: new instead of old" in told


def test_limits_of_a_record_are_those_of_then() -> None:
    then = RECORD.sandbox_of("python")
    assert then is not None
    assert then.over(SandboxLimits(processes=1, inodes=1)) == SandboxLimits()
    assert RECORD.sandbox_of("c") is None


def test_what_was_changed_since_is_a_conflict_until_the_campaign_is_over() -> None:
    changed = item(current=1)
    assert difference(changed).conflict
    assert not difference(changed, CampaignState.APPLIED).conflict


def test_a_name_is_neither_a_formula_nor_markup() -> None:
    found = difference(item(learner='=HYPERLINK("x"),|<b>\n'))
    (row,) = csv.reader(io.StringIO(csv_row(found)))
    assert len(row) == len(COLUMNS)
    assert row[2].startswith("'=")
    line = markdown_row(found)
    assert line.count("\n") == 1
    assert r"\|\<b\>" in line
    assert line.replace(r"\|", "").count("|") == len(COLUMNS) + 1


def made(task: Offered, content: Content) -> Complete:
    return complete(
        task, content, replace(RECORD, digest=task.bundles[0].digest), learner="ada",
        submitted_at=1.0, grade=1.0, verdict="partial",
    )  # fmt: skip


def native() -> Complete:
    files = {"task.toml": TASK}
    bundle = Bundle(files=files, digest=digest_of(files, ()))
    task = NativeTask.of(bundle, Path("sum"))
    return made(task, Content(files={"a.py": b"1"}, answers={"q": [1]}))


def of_inginious(folder: Path) -> Complete:
    (folder / "$common").mkdir()
    (folder / "$common/words.txt").write_text("words")
    (folder / "sum").mkdir()
    (folder / "sum/task.yaml").write_text("problems: {q: {type: code}}")
    task = Kinds().task(folder / "sum")
    return made(task, Content(files={}, answers={"q": "text"}, inputs={"@lang": "fr"}))


def test_a_record_is_whole_or_is_refused(tmp_path: Path) -> None:
    content = msgspec.json.encode(native())
    task = read(content).offered(Kinds())
    assert (task.id, task.bundles[0].files) == ("sum", {"task.toml": TASK})
    damaged = content.replace(base64.b64encode(TASK)[:8], base64.b64encode(b"Title ")[:8])
    with pytest.raises(InvalidInput, match="damaged"):
        read(damaged).offered(Kinds())
    shared = msgspec.json.encode(of_inginious(tmp_path))
    found = read(shared)
    assert found.offered(Kinds()).kind == "inginious"
    assert (found.content.inputs, found.learner) == ({"@lang": "fr"}, "ada")
    with pytest.raises(InvalidInput, match="damaged"):
        read(shared.replace(base64.b64encode(b"words"), b"AAAA")).offered(Kinds())
    for wrong in (
        b"{}", b"\xff", content.replace(b'"a.py"', b'"../a"'), content[:-5],
        content.replace(b'"format":1', b'"format":2'), content.replace(b'"sum"', b'"../sum"'),
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            read(wrong)


def test_all_of_it_is_for_teachers() -> None:
    assert {route.scope for route in ROUTES} == {"teach"}
