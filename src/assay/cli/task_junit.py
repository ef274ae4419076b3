"""Reports in the XML that continuous integration reads, whatever it is called: JUnit's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from assay.grading.export.junit import plain

if TYPE_CHECKING:
    from assay.cli.tested import Tested


def junit(tested: Sequence[Tested]) -> bytes:
    """A suite for each task, a case for each recorded submission."""
    root = ElementTree.Element("testsuites", _counts("assay task test", tested))
    for task in dict.fromkeys(each.task for each in tested):
        own = [each for each in tested if each.task == task]
        suite = ElementTree.SubElement(root, "testsuite", _counts(task, own))
        for each in own:
            _case(suite, each)
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _case(suite: ElementTree.Element, tested: Tested) -> None:
    named = {"classname": plain(tested.task), "name": plain(tested.name)}
    case = ElementTree.SubElement(suite, "testcase", {**named, "time": f"{tested.seconds:.3f}"})
    if tested.problems:
        said = plain("\n".join(filter(None, (*tested.problems, tested.said))))
        ElementTree.SubElement(case, "failure", {"message": plain(tested.problems[0])}).text = said


def _counts(name: str, tested: Sequence[Tested]) -> dict[str, str]:
    return {
        "name": plain(name),
        "tests": str(len(tested)),
        "failures": str(sum(bool(each.problems) for each in tested)),
        "errors": "0",
        "time": f"{sum(each.seconds for each in tested):.3f}",
    }
