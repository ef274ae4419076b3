"""Reports in XML, which learner's code could have written."""

from __future__ import annotations

import pytest

from assay.grading.frameworks.xml_reports import NoReport, doctest_report, junit_report

BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testsuite>&b;</testsuite>'


def test_a_test_that_is_not_said_to_be_a_success_has_failed() -> None:
    text = b'<doctest><TestSuite><TestCase name="adds"/></TestSuite></doctest>'
    assert not doctest_report(text)["adds"].passed


def test_a_skipped_test_has_not_passed() -> None:
    text = b'<testsuite><testcase classname="A" name="b()"><skipped/></testcase></testsuite>'
    assert not junit_report(text)["A.b()"].passed


@pytest.mark.parametrize(
    "text",
    [BOMB, b"", b"<testsuite>", b"\xff\xfe", b"<a>" * 400_000,
     b'<s><testcase classname="A" name="b"/><testcase classname="A" name="b"/></s>'],
)  # fmt: skip
def test_what_is_no_report_is_refused(text: bytes) -> None:
    with pytest.raises(NoReport):
        junit_report(text)
