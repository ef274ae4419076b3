"""Runs tests of `unittest`, and tells results as its TestResult hears of them."""

from __future__ import annotations

import functools
import sys
import traceback
import unittest
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.util import strclass

from .tests import Course, load, start


class Result(unittest.TestResult):
    """Passed is what was told to be a success, and nothing else before its end."""

    def __init__(self, course: Course, files: dict[str, str], cases: Sequence[Any]) -> None:
        super().__init__()
        self._course, self._files = course, files
        self._sharing: dict[str, list[str]] = {}
        """Ids of tests, by what is said to have failed when what they share has."""
        for case in cases:
            kind = type(case)
            for name in (f"setUpClass ({strclass(kind)})", f"setUpModule ({kind.__module__})"):
                self._sharing.setdefault(name, []).append(case.id())
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
        self._outcome, self._message, self._detail = "", "", ""

    def addSuccess(self, test: Any) -> None:  # noqa: N802
        super().addSuccess(test)
        self._outcome = self._outcome or "passed"

    def addError(self, test: Any, error: Any) -> None:  # noqa: N802
        super().addError(test, error)
        self._wrong(error)
        self._shared(test)

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
        self._shared(test)

    def _shared(self, test: Any) -> None:
        """If it is no test but what several share, and has just failed, they aren't run."""
        if isinstance(test, unittest.TestCase):
            return
        ids = self._sharing.pop(test.id(), None)
        if ids is not None:
            self._course.tell(ids, self._outcome, message=self._message, detail=self._detail)
        self._outcome, self._message, self._detail = "", "", ""

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


def _held(course: Course, function: Any, file: str = "") -> Any:
    """A fixture of several tests, of which nothing comes that unittest does not catch."""

    @functools.wraps(function)
    def held(*args: Any, **kwargs: Any) -> Any:
        with course.shared(file):
            return function(*args, **kwargs)

    return held


def _hold_cleanups(course: Course) -> None:
    add_to_class: Any = vars(unittest.TestCase)["addClassCleanup"].__func__
    add_to_module: Any = unittest.addModuleCleanup

    def to_class(cls: Any, function: Any, /, *args: Any, **kwargs: Any) -> None:
        add_to_class(cls, _held(course, function), *args, **kwargs)

    def to_module(function: Any, /, *args: Any, **kwargs: Any) -> None:
        add_to_module(_held(course, function), *args, **kwargs)

    held: Any = unittest
    held.TestCase.addClassCleanup = classmethod(to_class)
    held.addModuleCleanup = held.case.addModuleCleanup = to_module


def _hold_fixtures(course: Course, cases: Sequence[Any], files: dict[str, str]) -> None:
    kinds = {type(case) for case in cases}
    for module in {kind.__module__ for kind in kinds}:
        own = vars(sys.modules[module])
        for name in own.keys() & {"setUpModule", "tearDownModule"}:
            own[name] = _held(course, own[name], files.get(module, ""))
    for owner in {each for kind in kinds for each in kind.__mro__} - {unittest.TestCase, object}:
        for name in vars(owner).keys() & {"setUpClass", "tearDownClass"}:
            setattr(owner, name, _held_method(course, vars(owner)[name], files))


def _held_method(course: Course, method: Any, files: dict[str, str]) -> Any:
    def held(cls: Any) -> None:
        _held(course, method.__get__(None, cls), files.get(cls.__module__, ""))()

    return classmethod(held)


def main() -> int:
    """Run them; 0 when all have been run, whatever became of them."""
    course = start()
    _hold_cleanups(course)
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
    cases = list(_cases(whole))
    course.collected([case.id() for case in cases])
    _hold_fixtures(course, cases, files)
    whole.run(Result(course, files, cases))
    course.finish()
    return 0
