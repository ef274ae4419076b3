"""Reports in the XML that continuous integration reads, whatever it is called: JUnit's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree

if TYPE_CHECKING:
    from assay.cli.tested import Tested

_UNWANTED: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML can't hold."""


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
    named = {"classname": _plain(tested.task), "name": _plain(tested.name)}
    case = ElementTree.SubElement(suite, "testcase", {**named, "time": f"{tested.seconds:.3f}"})
    if tested.problems:
        said = _plain("\n".join(tested.problems))
        ElementTree.SubElement(case, "failure", {"message": _plain(tested.problems[0])}).text = said


def _counts(name: str, tested: Sequence[Tested]) -> dict[str, str]:
    return {
        "name": _plain(name),
        "tests": str(len(tested)),
        "failures": str(sum(bool(each.problems) for each in tested)),
        "errors": "0",
        "time": f"{sum(each.seconds for each in tested):.3f}",
    }


def _plain(text: str) -> str:
    return _UNWANTED.sub("\N{REPLACEMENT CHARACTER}", text)
