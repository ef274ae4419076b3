"""The published suites: what every driver must do, and what it must withstand.

    from assay.testing import CONFORMANCE, HOSTILE, bare_root, check_case

    @pytest.mark.parametrize("case", [*CONFORMANCE, *HOSTILE], ids=str)
    async def test_driver(case, driver, tmp_path):
        result = await check_case(driver, case, root=bare_root(tmp_path))
        if result.verdict is Verdict.SKIPPED:
            pytest.skip(result.reason)
        assert result.verdict is Verdict.PASSED, result.reason

A driver is done when every case passes, or is skipped for a capability that it says it lacks.
docs/suites.md tells how to read a failure and how to add a case.
"""

from assay.testing.case import Case, Failure, Group
from assay.testing.conformance import CONFORMANCE
from assay.testing.hostile import HOSTILE
from assay.testing.root import bare_root
from assay.testing.runner import Report, Result, Runner, Verdict, check, check_case, open_runner

__all__ = [
    "CONFORMANCE",
    "HOSTILE",
    "Case",
    "Failure",
    "Group",
    "Report",
    "Result",
    "Runner",
    "Verdict",
    "bare_root",
    "check",
    "check_case",
    "open_runner",
]
