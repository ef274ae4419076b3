"""Lists of submissions: one question, whatever a token teaches, and no result is read for them."""

import itertools

import pytest
from tests.grading.queue.conftest import made

from assay.grading.submissions import Submissions
from assay.storage.kind import Cursor
from assay.storage.statements import Statement, Values

NOTHING: Values = {}
COURSES = [f"course-{nth:03}" for nth in range(200)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Values]:
    found: list[Values] = []
    rows = Statement.rows

    def counted(
        self: Statement, cursor: Cursor, values: Values = NOTHING
    ) -> list[dict[str, object]]:
        found.append(values)
        return rows(self, cursor, values)

    monkeypatch.setattr(Statement, "rows", counted)
    return found


async def hand_in_all(submissions: Submissions) -> None:
    """Of two owners, in two courses of many and in one that is not taught, by turns."""
    for nth, course, owner in itertools.product(range(4), (*COURSES[:2], "other"), ("me", "you")):
        await submissions.submit(made(f"l{nth}", course=course, owner=owner, task=f"t{nth % 2}"))


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"course": COURSES[1]},
        {"course": "other"},
        {"task": "t1"},
        {"learner": "l2"},
        {"learner": "l2", "course": COURSES[0], "task": "t0"},
        {"learner": "nobody"},
    ],
)
async def test_a_page_has_what_is_ones_own_and_what_is_taught_by_one_question(
    submissions: Submissions, asked: list[Values], wanted: dict[str, str]
) -> None:
    await hand_in_all(submissions)
    expected = [
        each.id
        for each in await submissions.page(most=100)
        if (each.owner == "me" or each.course in COURSES)
        and all(getattr(each, name) == value for name, value in wanted.items())
    ]
    for most in (1, 5, 100):
        asked.clear()
        found, last = [], None
        for page in itertools.count(1):
            some = await submissions.page(
                owner="me", or_courses=COURSES, before=last, most=most, **wanted
            )
            found += [each.id for each in some]
            assert len(asked) == page
            if len(some) < most:
                break
            last = some[-1].id
        assert found == expected


async def test_without_courses_a_page_is_ones_own_and_without_an_owner_everybodys(
    submissions: Submissions,
) -> None:
    await hand_in_all(submissions)
    assert {each.owner for each in await submissions.page(owner="me")} == {"me"}
    assert len(await submissions.page(owner=None, or_courses=COURSES[:1])) == 24
