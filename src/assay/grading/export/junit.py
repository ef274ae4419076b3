"""Results in the XML that continuous integration reads: JUnit's. A suite for each submission."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from assay.grading.export.rows import Row
from assay.grading.results import PartResult, Result, TestResult, Verdict

_UNWANTED: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML can't hold."""
_CHILD: Final = {Verdict.NOT_RUN: "skipped", Verdict.ERROR: "error"}
"""What is in the case of a verdict that is neither passed nor a failure."""


def head(name: str) -> bytes:
    """What comes before the suites."""
    opened = f"<testsuites name={quoteattr(plain(name))}>"
    return f'<?xml version="1.0" encoding="utf-8"?>\n{opened}\n'.encode()


TAIL: Final = b"</testsuites>\n"


def suite_of(row: Row) -> bytes:
    """The suite of a submission of a server."""
    known = row.submission
    made = suite(f"{known.task} / {known.learner}", f"{known.course}.{known.task}", row.result)
    made.set("timestamp", f"{datetime.fromtimestamp(known.submitted_at, UTC):%Y-%m-%dT%H:%M:%S}")
    made.set("id", known.id)
    if row.result is None:
        _add(made, f"{known.course}.{known.task}", known.learner, "skipped", known.state)
        made.set("tests", "1")
        made.set("skipped", "1")
    return text_of(made)


def suite(name: str, classname: str, result: Result | None) -> ElementTree.Element:
    """A suite: a case for each test, and for each part that has none."""
    made = ElementTree.Element("testsuite", {"name": plain(name)})
    kinds = [] if result is None else list(_cases(made, classname, result))
    made.set("tests", str(len(kinds)))
    for attribute, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        made.set(attribute, str(kinds.count(kind)))
    seconds = sum(float(case.get("time", "0")) for case in made)
    made.set("time", f"{seconds:.3f}")
    return made


def text_of(element: ElementTree.Element) -> bytes:
    """An element as text, in lines."""
    ElementTree.indent(element)
    text: bytes = ElementTree.tostring(element, encoding="utf-8")
    return text.removeprefix(b"<?xml version='1.0' encoding='utf-8'?>\n") + b"\n"


def document(name: str, suites: Iterable[ElementTree.Element]) -> bytes:
    """A whole document."""
    return head(name) + b"".join(text_of(each) for each in suites) + TAIL


def plain(text: str) -> str:
    """A text without what XML can't hold."""
    return _UNWANTED.sub("\N{REPLACEMENT CHARACTER}", text)


def _cases(made: ElementTree.Element, classname: str, result: Result) -> Iterator[str]:
    for part in result.parts:
        place = f"{classname}.{part.id}"
        for test in part.tests:
            text = "\n\n".join(filter(None, (test.message, test.detail)))
            yield _of_verdict(made, place, test.name, test, text, test.wall_seconds)
        if not part.tests:
            yield _of_verdict(made, place, part.id, part, part.message, None)
    if not result.parts or (
        result.verdict is Verdict.ERROR
        and not any(part.verdict is Verdict.ERROR for part in result.parts)
    ):
        text = "\n\n".join(filter(None, (result.message, result.detail)))
        yield _add(made, classname, "grading", _child(result.verdict), result.verdict, text)


def _of_verdict(
    made: ElementTree.Element, place: str, name: str, of: TestResult | PartResult, text: str,
    seconds: float | None,
) -> str:  # fmt: skip
    return _add(made, place, name, _child(of.verdict), of.verdict, text, seconds or 0.0)


def _child(verdict: Verdict) -> str:
    return "" if verdict is Verdict.PASSED else _CHILD.get(verdict, "failure")


def _add(
    made: ElementTree.Element, place: str, name: str, child: str, verdict: str, text: str = "",
    seconds: float = 0.0,
) -> str:  # fmt: skip
    named = {"classname": plain(place), "name": plain(name), "time": f"{seconds:.3f}"}
    case = ElementTree.SubElement(made, "testcase", named)
    if child:
        said = {"message": verdict.replace("_", " ")}
        if child != "skipped":
            said["type"] = verdict
        ElementTree.SubElement(case, child, said).text = plain(text) or None
    return child
