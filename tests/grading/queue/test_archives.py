"""What a grader keeps has tens of MiB, and is read by who asks for it: by nobody else."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alembic import command
from sqlalchemy import text
from tests.grading.queue.conftest import Open, made
from tests.grading.queue.test_regrades import courses, regrades

from assay.domain.errors import NotFound
from assay.domain.submission import Submission
from assay.grading.regrading.regrades import Applying, Regrades
from assay.grading.regrading.wish import Wish
from assay.grading.results import Result, Verdict, archive_of, kept
from assay.grading.submissions import Submissions
from assay.storage.kind import Kind
from assay.storage.schema import configuration
from assay.storage.submissions.places import place_of
from assay.storage.submissions.steps import Ending

__all__ = ["courses", "regrades"]

OLD, NEW = os.urandom(3 << 20), os.urandom(2 << 20)


async def end(submissions: Submissions, grade: float, archive: bytes) -> str:
    (work,) = await submissions.store.claim("w", 1, {})
    result = Result(verdict=Verdict.PARTIAL, grade=grade, archive=archive_of(archive))
    ending = Ending(holder="w", submission=work.submission, result=kept(result), seconds=1.0)
    assert await submissions.store.finish(ending)
    return work.submission.id


async def graded(submissions: Submissions) -> str:
    await submissions.submit(made(task_hash="sha256:then"))
    return await end(submissions, 50.0, OLD)


async def test_a_result_says_that_there_is_one_and_holds_none_of_it(
    submissions: Submissions,
) -> None:
    name = await graded(submissions)
    result = await submissions.result(name)
    assert result is not None
    assert len(result) < 1000
    found = msgspec.json.decode(result, type=Result).archive
    assert found is not None
    assert (found.size, found.content) == (len(OLD), None)
    assert found.digest == archive_of(OLD).digest
    assert await submissions.archive(name, 0) == OLD
    for missing in ((name, 1), ("0" * 32, 0)):
        with pytest.raises(NotFound):
            await submissions.archive(*missing)
    assert await submissions.purge(1e12) == 1
    with pytest.raises(NotFound):
        await submissions.archive(name, 0)


async def test_a_campaign_brings_its_own_and_the_former_one_stays(
    regrades: Regrades, submissions: Submissions
) -> None:
    name = await graded(submissions)
    started = await regrades.start(Wish(course="algebra"))
    await end(submissions, 80.0, NEW)
    assert await submissions.archive(name, 0) == OLD
    await regrades.apply(started.id, Applying(), by="")
    now = await submissions.get(name)
    assert (now.revision, now.verdict, now.grade) == (1, "partial", 80.0)
    assert await submissions.archive(name, 1) == NEW
    assert await submissions.archive(name, 0) == OLD


class Counting:
    """Notes how many bytes of results and archives come from the database."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def fetchall(self) -> Any:
        rows = self._cursor.fetchall()
        self.count += sum(len(value) for row in rows for value in row if isinstance(value, bytes))
        return rows


async def test_lists_exports_and_campaigns_read_no_archive(
    regrades: Regrades, submissions: Submissions
) -> None:
    name = await graded(submissions)
    started = await regrades.start(Wish(course="algebra"))
    await end(submissions, 80.0, NEW)

    reader = submissions.store._reader
    counting = Counting(reader._cursor)
    reader._cursor = counting
    store = submissions.store.results
    each = [known async for known in store.known(store.submissions("algebra"))]
    assert len(each) == 1
    found = [each async for each in regrades.report(await regrades.get(started.id))]
    assert [each.new_grade for each in found] == [80.0]
    assert len(await submissions.page()) == 1
    assert (await submissions.get(name)).grade == 50.0
    assert await submissions.result(name) is not None
    assert 0 < counting.count < 10_000
    assert await submissions.archive(name, 0) == OLD
    assert counting.count > len(OLD)


def rows(kind: Kind, statement: str, **values: object) -> list[tuple[Any, ...]]:
    with kind.engine.begin() as connection:
        done = connection.execute(text(statement), values)
        return [tuple(row) for row in done] if done.returns_rows else []


async def test_archives_of_before_are_moved_out_of_their_results_and_back(
    url: str, tmp_path: Path, open_submissions: Open
) -> None:
    opened = await open_submissions(url)
    name, other = await graded(opened), (await opened.submit(made("bob"))).id
    await opened.aclose()
    kind = place_of(url).writing
    kind.prepare()
    old = {
        "verdict": "partial", "grade": 50.0, "archive": base64.b64encode(OLD).decode(),
        "record": {"digest": "sha256:then", "grader": "0.1", "seed": 1}, "parts": [],
    }  # fmt: skip
    with kind.engine.begin() as connection:
        command.downgrade(configuration(connection), "0009")
    ((whole,),) = rows(kind, "SELECT result FROM submission_result")
    assert base64.b64decode(json.loads(bytes(whole))["archive"]) == OLD
    values = {"name": name, "other": other, "result": json.dumps(old).encode()}
    rows(kind, "UPDATE submission_result SET result = :result WHERE id = :name", **values)
    rows(kind, "INSERT INTO submission_result VALUES (:other, :slow)", other=other, slow=b"slow")
    rows(kind, "INSERT INTO former_result VALUES (:name, 7, :result, 'c', 1.0, '')",
         name=name, result=values["result"])  # fmt: skip
    kind.engine.dispose()
    kind.close()
    again = await open_submissions(url)
    for revision in (0, 7):
        assert await again.archive(name, revision) == OLD
    (former,) = await again.store.campaigns.history(name)
    for result in (await again.result(name), former.result):
        assert result is not None
        assert len(result) < 1000
        assert msgspec.json.decode(result, type=Result).archive is not None
    found: Submission = await again.get(name)
    assert (found.verdict, found.grade, found.version) == ("partial", 50.0, "sha256:then")
    assert await again.result(other) == b"slow"
    assert (await again.get(other)).verdict is None
