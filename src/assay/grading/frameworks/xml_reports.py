"""Results as doctest and JUnit write them. Learner's code could have written them as well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree

REPORT_MOST: Final = 1024 * 1024
"""Bytes of one."""


class NoReport(Exception):
    """This is no report."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tested:
    """One test."""

    passed: bool
    message: str = ""


def doctest_report(text: bytes) -> Mapping[str, Tested]:
    """Test cases by their names. Raises NoReport."""
    found: dict[str, Tested] = {}
    for case in _parsed(text).iter("TestCase"):
        overall = case.find("OverallResultsAsserts")
        passed = overall is not None and overall.get("test_case_success") == "true"
        _add(
            found,
            case.get("name", ""),
            Tested(passed=passed, message="\n".join(_expressions(case))),
        )
    return found


def _expressions(case: ElementTree.Element) -> Iterator[str]:
    for each in case.iter("Expression"):
        original, expanded = (
            each.findtext("Original", "").strip(),
            each.findtext("Expanded", "").strip(),
        )
        yield f"line {each.get('line')}: {each.get('type')}( {original} ): {expanded}"
    for each in case.iter("Exception"):
        yield f"an exception: {(each.text or '').strip()}"


def junit_report(text: bytes) -> Mapping[str, Tested]:
    """Tests as "Class.method()". Raises NoReport."""
    found: dict[str, Tested] = {}
    for case in _parsed(text).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        wrong = next((each for each in case if each.tag in ("failure", "error", "skipped")), None)
        message = (
            "" if wrong is None else f"{wrong.get('type', '')}: {wrong.get('message', wrong.tag)}"
        )
        _add(found, name, Tested(passed=wrong is None, message=message))
    return found


def _add(found: dict[str, Tested], name: str, tested: Tested) -> None:
    if name in found:
        raise NoReport(f"two tests are called {name[:200]}")
    found[name] = tested


def _parsed(text: bytes) -> ElementTree.Element:
    if len(text) > REPORT_MOST or b"<!" in text.replace(b"<![CDATA[", b""):
        raise NoReport("a report is small, and declares nothing")
    try:
        return ElementTree.fromstring(text)  # noqa: S314 - no declarations, so no entities
    except (ElementTree.ParseError, ValueError) as error:
        raise NoReport(str(error)) from error
