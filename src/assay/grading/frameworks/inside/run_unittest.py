"""Runs tests of `unittest`, and tells results as its TestResult hears of them."""

from __future__ import annotations

import sys
import traceback
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .tests import Course, load, start


class Result(unittest.TestResult):
    """Passed is what was told to be a success, and nothing else before its end."""

    def __init__(self, course: Course, files: dict[str, str]) -> None:
        super().__init__()
        self._course, self._files = course, files
        self._outcome, self._message, self._detail = "", "", ""

    def startTest(self, test: Any) -> None:  # noqa: N802
        super().startTest(test)
        self._outcome, self._message, self._detail = "", "", ""
        self._course.begin(self._files.get(type(test).__module__, ""))

    def stopTest(self, test: Any) -> None:  # noqa: N802
        super().stopTest(test)
        self._course.end(
            test.id(), self._outcome or "failed", message=self._message, detail=self._detail
        )

    def addSuccess(self, test: Any) -> None:  # noqa: N802
        super().addSuccess(test)
        self._outcome = self._outcome or "passed"

    def addError(self, test: Any, error: Any) -> None:  # noqa: N802
        super().addError(test, error)
        self._wrong(error)

    def addFailure(self, test: Any, error: Any) -> None:  # noqa: N802
        super().addFailure(test, error)
        self._wrong(error)

    def addSubTest(self, test: Any, subtest: Any, error: Any) -> None:  # noqa: N802
        super().addSubTest(test, subtest, error)
        if error is not None:
            self._wrong(error)

    def addExpectedFailure(self, test: Any, error: Any) -> None:  # noqa: N802
        super().addExpectedFailure(test, error)
        self._outcome = self._outcome or "passed"

    def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: N802
        super().addUnexpectedSuccess(test)
        self._outcome, self._message = "failed", "It should have failed."

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        super().addSkip(test, reason)
        self._outcome, self._message = self._outcome or "skipped", reason

    def _wrong(self, error: Any) -> None:
        self._outcome = "failed"
        self._message = self._message or "".join(
            traceback.format_exception_only(error[0], error[1])
        )
        self._detail += "".join(traceback.format_exception(*error))


def _cases(suite: Any) -> Iterator[Any]:
    for each in suite:
        if isinstance(each, unittest.TestSuite):
            yield from _cases(each)
        else:
            yield each


def main() -> int:
    """Run them; 0 when all have been run, whatever became of them."""
    course = start()
    suites: list[Any] = []
    files: dict[str, str] = {}
    try:
        for path in course.files:
            sys.path.insert(1, str(Path(path).resolve().parent))
            files[Path(path).stem] = path
            suites.append(unittest.defaultTestLoader.loadTestsFromModule(load(path)))
    except BaseException:
        course.fault(traceback.format_exc())
        return 1
    whole = unittest.TestSuite(suites)
    course.collected([case.id() for case in _cases(whole)])
    whole.run(Result(course, files))
    course.finish()
    return 0
