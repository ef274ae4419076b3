"""Runs tests of `pytest`, and tells results as its hooks hear of them."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from .tests import Course, start


class Plugin:
    """What pytest calls."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._reports: list[Any] = []
        self.faults: list[str] = []
        self.collected = False

    def pytest_collectreport(self, report: Any) -> None:
        """A file that can't be collected is the task's fault: no learner's code is there."""
        if report.failed:
            self.faults.append(str(report.longrepr))

    def pytest_collection_finish(self, session: Any) -> None:
        """Here are all tests."""
        if not self.faults:
            self._course.collected([item.nodeid for item in session.items])
            self.collected = True

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> Iterator[None]:
        """Around one test, its fixtures included."""
        self._reports = []
        self._course.begin(item.nodeid.split("::")[0])
        yield
        outcome, message, detail = _judged(self._reports)
        self._course.end(item.nodeid, outcome, message=message, detail=detail)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """One of the three steps of a test."""
        self._reports.append(report)


def _judged(reports: list[Any]) -> Any:
    """Passed is what passed in all three steps; what was expected to fail must have failed."""
    failed = [report for report in reports if report.failed]
    if failed:
        detail = "\n".join(str(report.longrepr) for report in failed)
        return "failed", _message(failed[0]), detail
    skipped = [report for report in reports if report.skipped]
    if skipped:
        outcome = "passed" if hasattr(skipped[0], "wasxfail") else "skipped"
        return outcome, str(getattr(skipped[0], "wasxfail", "")), str(skipped[0].longrepr)
    complete = [report.when for report in reports] == ["setup", "call", "teardown"]
    return ("passed" if complete else "failed"), "", ""


def _message(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(getattr(crash, "message", "") or report.longrepr)


def main() -> int:
    """Run them; 0 when all have been run, whatever became of them."""
    course = start()
    plugin = Plugin(course)
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", "--rootdir=."]
    try:
        status = int(pytest.main([*options, *course.files], plugins=[plugin]))
    except BaseException:
        course.fault(traceback.format_exc())
        return 1
    if plugin.faults or not plugin.collected:
        course.fault("\n".join(plugin.faults) or f"pytest ended with exit status {status}")
        return 1
    if status in (0, 1, 5):
        course.finish()
        return 0
    course.fault(f"pytest ended with exit status {status}")
    return 1
