"""The fake passes the suite that every driver passes: that is what makes it a verified fake."""

from pathlib import Path

import pytest

from assay.agent.native import program
from assay.domain.errors import Unavailable
from assay.drivers.fake import FakeDriver
from assay.testing import CONFORMANCE, Case, Verdict, bare_root, check_case


@pytest.mark.parametrize("case", CONFORMANCE, ids=str)
async def test_the_fake_keeps_every_promise(case: Case, tmp_path: Path) -> None:
    try:
        program("probe")
    except Unavailable as error:
        pytest.skip(error.message)
    result = await check_case(FakeDriver(), case, root=bare_root(tmp_path))
    if result.verdict is Verdict.SKIPPED:
        pytest.skip(result.reason)
    assert result.verdict is Verdict.PASSED, result.reason
