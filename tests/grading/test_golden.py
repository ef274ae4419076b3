"""What submissions are worth: folders with a submission, and what is expected of its grading."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from assay.grading.tasks import load_task

from .conftest import GradeIn

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.parent for path in GOLDEN.glob("cases/*/expected.toml"))

# A busy machine takes a minute for a compiler.
pytestmark = pytest.mark.timeout(400)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_a_submission_is_worth_what_is_expected(case: Path, grade_in: GradeIn) -> None:
    expected = tomllib.loads((case / "expected.toml").read_text())
    task = GOLDEN / "tasks" / expected["task"]
    names = load_task(task)[0].files
    files = {name: (case / name).read_bytes() for name in names}
    # With one at a time, whoever waits for a second one while it has one never ends.
    result = await grade_in(task, files, parallel=1)
    verdicts = {
        part.id: {"verdict": str(part.verdict)}
        | {_last(test.name): str(test.verdict) for test in part.tests}
        for part in result.parts
    }
    assert verdicts == expected["parts"], result
    assert result.grade == expected["grade"]
    said = "\n".join(test.message for part in result.parts for test in part.tests)
    for text in expected.get("says", []):
        assert text in said
    for text in expected.get("never_says", []):
        assert text not in said


def _last(name: str) -> str:
    return name.rpartition("::")[2].rpartition(".")[2]
