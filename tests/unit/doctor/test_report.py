from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

import assay
from assay.doctor.checks import examine_machine
from assay.doctor.checks.rights import without_root
from assay.doctor.document import document
from assay.doctor.environments import EnvironmentReport
from assay.doctor.facts import Machine, Package, Program
from assay.doctor.findings import Finding, Mark, Section
from assay.doctor.programs import KNOWN
from assay.doctor.report import Report
from assay.doctor.text import render
from assay.doctor.trial import DriverReport, Timings, explained
from assay.domain.errors import DriverUnavailable
from assay.driver.port import Capabilities, Problem

DOCUMENTATION = Path(assay.__file__).parents[2] / "docs/doctor.md"

CRUN = DriverReport(
    name="crun",
    works=True,
    version="1.30",
    timings=Timings(create=0.0204, run=0.0012, destroy=0.0061),
    capabilities=Capabilities(),
)
RUNC = DriverReport(
    name="runc",
    works=False,
    problems=(Problem(summary="the program runc is missing", remedy="apt-get install runc"),),
)
PYTHON = EnvironmentReport(name="python", title="Python 3", usable=True)
JAVA = EnvironmentReport(
    name="java",
    title="Java",
    usable=False,
    problems=(
        Problem(summary="/usr/bin/java is missing", remedy="apt-get install jdk"),
        Problem(summary="/usr/bin/javac is missing", remedy="apt-get install jdk"),
    ),
)


@pytest.fixture
def report(healthy: Machine) -> Report:
    return Report(
        sections=examine_machine(healthy), drivers=(CRUN, RUNC), environments=(PYTHON, JAVA)
    )


def test_the_first_driver_that_works_is_the_default(report: Report) -> None:
    assert report.works
    assert report.default_driver == "crun"
    assert dataclasses.replace(report, drivers=(RUNC, CRUN)).default_driver == "crun"


def test_the_settings_have_the_last_word_on_the_default(report: Report) -> None:
    wished = dataclasses.replace(report, preferred="runc")
    assert wished.default_driver is None
    assert "not with runc, the driver of your settings" in wished.verdict


def test_a_report_about_one_driver_knows_no_default(report: Report) -> None:
    one = dataclasses.replace(report, drivers=(CRUN,), every_driver=False)
    assert one.default_driver is None
    assert "default" not in one.verdict


def test_the_verdict_is_one_line_with_the_default(report: Report) -> None:
    assert report.verdict == (
        "Assay works here with crun; the default driver is crun; environments: python."
    )


def test_the_verdict_says_why_nothing_works_and_what_mends_it(report: Report) -> None:
    broken = dataclasses.replace(report, drivers=(RUNC,))
    assert not broken.works
    assert broken.verdict.endswith("runc: the program runc is missing (fix: apt-get install runc)")


def test_what_fails_on_the_machine_is_the_likeliest_reason(report: Report) -> None:
    finding = Finding(check="swap", mark=Mark.FAILURE, summary="it burns", remedy="water")
    section = Section(title="Fire", findings=(finding,))
    broken = dataclasses.replace(report, drivers=(RUNC,), sections=(section,))
    assert broken.verdict == "Assay does not work here: swap: it burns (fix: water)"
    works = dataclasses.replace(report, sections=(section,))
    assert works.verdict.endswith("1 failure above.")


def test_who_is_not_root_is_told_what_stands_in_the_way_not_to_ask_the_doctor(
    healthy: Machine,
) -> None:
    ann = dataclasses.replace(
        healthy,
        rights=dataclasses.replace(healthy.rights, uid=1000, user="ann"),
        users=dataclasses.replace(healthy.users, subordinate_uids=0, first_free_id=231072),
    )
    asks = Problem(summary="this is no user namespace", remedy="assay doctor")
    lean = DriverReport(name="lean", works=False, problems=(asks,))
    cause = without_root(ann, DriverUnavailable("it is forbidden"))
    report = Report(
        sections=examine_machine(ann), drivers=(explained(lean, cause),), environments=()
    )
    assert "subordinate-ids: ann has fewer than 65536 subordinate uids" in report.verdict
    assert report.verdict.endswith("(fix: usermod --add-subuids 231072-296607 ann)")
    assert "fix: assay doctor" not in render(report, width=None)
    assert document(report, ())["drivers"][0]["problems"][0]["remedy"].startswith("usermod")
    unknown = without_root(healthy, DriverUnavailable("it is forbidden"))
    assert unknown == Problem(summary="it is forbidden")


def test_columns_are_aligned(report: Report) -> None:
    lines = render(report, width=None).splitlines()
    starts = {
        line.index(text)
        for text in ("Linux 6.12", "crun 1.30 works", "can: ", "/usr/bin/javac", "Python 3")
        for line in lines
        if text in line and line.startswith("  ")
    }
    assert len(starts) == 1


def test_a_driver_is_shown_with_its_times_and_what_it_can(report: Report) -> None:
    text = render(report, width=None)
    assert "a sandbox in 20 ms, `true` in 1.2 ms, removed in 6 ms (the default)" in text
    assert "can: reattachment, cleanup by cgroup-kill" in text
    assert "can't: network on, own kernel" in text


def test_a_remedy_that_mends_two_things_is_said_once(report: Report) -> None:
    assert render(report, width=None).count("fix: apt-get install jdk") == 1


def test_without_a_terminal_there_are_no_control_characters(report: Report) -> None:
    assert all(letter.isprintable() or letter == "\n" for letter in render(report, width=None))


def test_colours_change_nothing_else(report: Report) -> None:
    painted = render(report, width=70, paint=lambda text, style: f"<{style}>{text}</>")
    assert re.sub(r"<[a-z]*>|</>", "", painted) == render(report, width=70)


def test_texts_are_folded_but_commands_are_not(report: Report) -> None:
    section = Section(
        title="Long",
        findings=(
            Finding(check="swap", mark=Mark.WARNING, summary="word " * 40, remedy="command " * 40),
        ),
    )
    lines = render(dataclasses.replace(report, sections=(section,)), width=70).splitlines()
    assert all(len(line) <= 70 for line in lines if "fix:" not in line and "Assay" not in line)
    assert any(line.count("command") == 40 for line in lines)


def test_an_ascii_terminal_gets_ascii(report: Report) -> None:
    text = render(report, width=None, ascii_only=True)
    assert text.isascii()
    assert "  + crun" in text
    assert "  x runc" in text


def test_the_document_is_json_with_the_documented_keys(report: Report) -> None:
    old = Program(
        name="runc",
        path="/usr/sbin/runc",
        version="1.1.5",
        package=Package(name="runc", version="1.1.5-1", changelog="CVE-2024-21626"),
    )
    found = json.loads(json.dumps(document(report, [old])))
    table = re.findall(r"^\| `(\w+)` \|", DOCUMENTATION.read_text().split("## JSON")[1], re.M)
    assert list(found) == table
    assert found["drivers"][0]["seconds"]["run"] == 0.0012
    assert found["drivers"][1]["seconds"] is None
    assert found["environments"][1]["problems"][0]["remedy"] == "apt-get install jdk"
    ids = [each for hole in found["runtimes"][0]["holes"] for each in hole["ids"]]
    assert "CVE-2025-52881" in ids
    assert "CVE-2024-21626" not in ids


def test_every_check_is_documented() -> None:
    sources = (Path(assay.__file__).parent / "doctor/checks").glob("*.py")
    written = "".join(source.read_text() for source in sources)
    checks = set(
        re.findall(r"(?:ok|note|unknown|warning|failure|_compared)\(\s*\"([a-z-]+)\"", written)
    )
    checks -= {known.name for known in KNOWN}
    assert len(checks) > 30
    documented = set(re.findall(r"`([a-z0-9-]+)`", DOCUMENTATION.read_text()))
    assert checks <= documented
