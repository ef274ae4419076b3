"""The table of technologies: whoever fails, is missing or can't do so many is shown as such."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import pytest

from assay.agent.native import program
from assay.bench import Distribution, Figure, Most, Remark, Report, Subject, Unit, as_data, most
from assay.bench.host import keepers_of, processes_named
from assay.bench.sample_images import closure
from assay.bench.startup import FULL, Plan, measure
from assay.bench.startup.crowds import Round
from assay.bench.startup.cycles import PHASES
from assay.bench.startup.findings import Findings, report
from assay.bench.startup.picture import picture
from assay.bench.startup.plan import Trial, expected_seconds, in_words
from assay.bench.startup.tables import markdown, sentences, tables
from assay.bench.subject import Restored, explained
from assay.bench.technologies import Conditions, Technology, document, lacking
from assay.bootstrap import every_technology
from assay.bootstrap.catalogue import root_filesystem
from assay.config import read_settings
from assay.domain.errors import DriverError, RuntimeFailed, RuntimeMissing
from assay.driver.port import (
    Capabilities,
    Health,
    Problem,
    RootFilesystem,
    Sandbox,
    SandboxSpec,
)
from assay.drivers.alone import BubblewrapAlone, LxcAlone
from assay.drivers.alone.crowd import Crowd
from assay.drivers.fake import FakeDriver
from assay.drivers.fake.process import Process

ROOT = RootFilesystem(digest="none", path=Path("/"))
QUICKEST = Plan(at_once={1: 2, 3: 1}, cycles=1)
FLOOR = program("floor")


def quiet(what: str, done: int, whole: int) -> None:
    assert 0 < done <= whole


class Failing(FakeDriver):
    """A driver that makes so many sandboxes, and no more."""

    def __init__(self, name: str, *, good: int = 10**6) -> None:
        super().__init__()
        self.called = name
        self.left = good

    @property
    def name(self) -> str:
        return self.called

    async def create(self, spec: SandboxSpec) -> Sandbox:
        self.left -= 1
        if self.left < 0:
            raise RuntimeFailed("the engine is gone", detail="connection refused")
        return await super().create(spec)


def figure(driver: str, name: str, *samples: float, unit: Unit = Unit.SECONDS) -> Figure:
    return Figure(driver=driver, name=name, unit=unit, measured=Distribution.of(samples))


def a_report(*more: Figure, remarks: Sequence[Remark] = ()) -> Report:
    figures = (
        figure("slow", "1 at once: all idle", 0.3),
        figure("slow", "100 at once: all idle", 20.0),
        figure("quick", "1 at once: all idle", 0.002, 0.004, 0.006),
        figure("quick", "100 at once: all idle", 0.2),
        figure("quick", "100 at once: memory of each", 0.6e6, unit=Unit.BYTES),
        *(figure("quick", f"hello world: {phase}", 0.01) for phase in (*PHASES, "whole")),
    )
    return Report(
        name="startup", title="t", beside="alone", figures=(*figures, *more),
        remarks=tuple(remarks),
    )  # fmt: skip


# --- pure ----------------------------------------------------------------------------------------


def test_who_can_have_twenty_is_asked_for_twenty_instead_of_a_hundred() -> None:
    assert FULL.amounts_for(None) == (1, 10, 100)
    assert FULL.amounts_for(20) == (1, 10, 20)
    assert FULL.amounts_for(10) == (1, 10)
    assert [FULL.rounds_of(count) for count in (1, 10, 20, 100)] == [20, 5, 3, 3]


def test_the_whole_table_of_ten_technologies_is_expected_within_twenty_minutes() -> None:
    docker = Trial(create=0.3, destroy=0.1, work=2.0)
    podman = Trial(create=0.12, destroy=0.2, work=2.0)
    local = Trial(create=0.03, destroy=0.01, work=0.6)
    gvisor = Trial(create=0.25, destroy=1.5, work=8.0)
    machine = Trial(create=0.6, destroy=0.1, most=20, work=60.0)
    everybody = [*[local] * 4, gvisor, *[docker] * 3, podman, machine]
    seconds = expected_seconds(FULL, everybody)
    assert 120 < seconds < 20 * 60
    assert in_words(seconds) == f"about {seconds / 60:.0f} minutes"
    assert in_words(20) == "less than a minute"


def test_ratios_are_to_the_fastest_of_the_same_row() -> None:
    (first, *_) = tables(a_report())
    assert first.head == ("technology", "1", "p95", "×", "100", "p95", "×")
    assert first.rows == (
        ("quick", "4.00 ms", "6.00 ms", "1.0", "200 ms", "200 ms", "1.0"),
        ("slow", "300 ms", "300 ms", "75.0", "20.0 s", "20.0 s", "100.0"),
    )


def test_there_is_no_silent_gap() -> None:
    remarks = [
        Remark(driver="small", what="100 at once", kind="resource limit", reason="a | b\n\x1b[2Jc"),
        Remark(driver="absent", what="", kind="left out", reason="not installed"),
    ]
    found = a_report(figure("small", "1 at once: all idle", 1.0), remarks=remarks)
    rows = {row[0]: row for row in tables(found)[0].rows}
    assert rows["small"][4] == "resource limit"
    assert rows["absent"][1:] == ("left out", "–", "–", "left out", "–", "–")
    assert "absent: left out: not installed" in sentences(found)
    assert "a \\| b [2Jc" in markdown(found)
    (data,) = json.loads(json.dumps(as_data([found])))
    assert data["remarks"][0]["reason"] == "a | b\n\x1b[2Jc"
    slow = next(each for each in data["figures"] if each["driver"] == "slow")
    assert slow["to_the_fastest"] == pytest.approx(75)


def test_who_leads_is_compared_with_all_but_itself() -> None:
    found = Findings()
    for name, seconds in (("lean", 0.1), ("lean, prepared", 0.2), ("bare", 0.3), ("docker", 7.0)):
        taken = Round(idle=seconds, answered=None, gone=0.1, private=1.0, available=None)
        found.crowds[name, 100] = [taken]
    ours = Subject(driver=Failing("lean"), root=ROOT)
    leader = replace(
        ours, manner="prepared", leads=True, times_ahead={"docker": 40, "x": 2}, idle_seconds=0.2
    )
    made = report(found, [ours, leader], FULL)
    checks = {
        check.promise: check
        for each in made.figures if each.name == "100 at once: all idle"
        for check in each.checks
    }  # fmt: skip
    assert checks["ahead of bare"].kept
    assert checks["ahead of bare"].value == pytest.approx(2 / 3)
    assert not checks["≥ 40 × as fast as docker"].kept
    assert set(checks) == {"ahead of bare", "≥ 40 × as fast as docker", "≤ 0.2 s"}


def test_who_places_sandboxes_is_compared_with_the_engine_that_makes_them() -> None:
    found = Findings()
    for name, seconds in (("nomad", 12.0), ("podman, from afar", 10.0), ("podman", 4.0)):
        taken = Round(idle=seconds, answered=None, gone=0.1, private=1.0, available=None)
        found.crowds[name, 100] = [taken]
    placed = Subject(
        driver=Failing("nomad"), root=ROOT, idle_seconds=10.0,
        times_of={"podman, from afar": 1.3, "docker, from afar": 1.3},
    )  # fmt: skip
    kept = {
        check.promise: check.kept
        for each in report(found, [placed], FULL).figures if each.driver == "nomad"
        for check in each.checks if "from afar" in check.promise or "10 s" in check.promise
    }  # fmt: skip
    assert kept == {"≤ 10 s": False, "≤ 1.3 × podman, from afar": True}


def test_restored_machines_are_promised_a_first_result_and_ten_at_once() -> None:
    found = Findings()
    for count, result in ((1, 0.7), (10, None)):
        found.crowds["vm", count] = [
            Round(
                idle=1.5, answered=2.5, gone=0.1, private=4e7, available=3e7, processor=0.3,
                result=result,
            )
        ]  # fmt: skip
    machine = Subject(
        driver=Failing("vm"), root=ROOT, idle_bytes=4e7, own_bytes=None, restored=Restored()
    )
    made = report(found, [machine], Plan(at_once={1: 1, 10: 1}, cycles=0))
    kept = {
        (each.name, check.promise): check.kept for each in made.figures for check in each.checks
        if each.driver == "vm"
    }  # fmt: skip
    assert kept == {
        ("1 at once: first result", "≤ 0.8 s"): True,
        ("1 at once: memory of each", "≤ 40.0 MB in all"): True,
        ("10 at once: memory of each", "≤ 40.0 MB in all"): True,
        ("10 at once: all answered", "≤ 2 s"): False,
        ("10 at once: processor time of each", "≤ 0.4 s"): True,
    }


def test_the_picture_shows_every_technology() -> None:
    drawn = picture(a_report())
    assert drawn.startswith("<svg")
    assert drawn == picture(a_report())
    for text in ("quick", "slow", "until all are idle", "memory of each", "life cycle"):
        assert text in drawn


def test_the_page_says_what_each_cannot_do_and_why_one_is_missing() -> None:
    problem = Problem(summary="no such socket", remedy="apt-get install it")
    technologies = [
        Technology(name="quick", capabilities=Capabilities(), health=Health(works=True)),
        Technology(
            name="slow", capabilities=Capabilities(own_kernel=True, memory_limit=False),
            health=Health(works=True, version="1.2"),
        ),
        Technology(
            name="absent", capabilities=Capabilities(),
            health=Health(works=False, problems=(problem,)),
        ),
    ]  # fmt: skip
    where = Conditions(processors=2, virtual=True, load=0.25, seconds=180, picture="page.svg")
    page = document(a_report(), technologies, where)
    assert "two cores of a virtual machine" in page
    assert "3 of 1, 1 of 100 at once" in page
    assert "Others were at work" not in page
    assert "| quick | no | 4.00 ms | 200 ms | 600 kB | yes |" in page
    assert "memory is limited for each process only" in page
    assert "it does not work; no such socket: apt-get install it" in page
    assert "(page.svg)" in page


def test_what_mends_a_problem_is_said_once() -> None:
    named = Problem(
        summary="it is not here; install it: apt-get install it", remedy="apt-get install it"
    )
    apart = Problem(summary="it is not here", remedy="apt-get install it")
    assert explained([named, named]) == named.summary
    assert explained([apart]) == "it is not here: apt-get install it"
    assert explained([Problem(summary="so it is")]) == "so it is"
    assert explained([]) == "it does not say why"


def test_the_page_of_the_repository_knows_every_driver() -> None:
    page = Path(__file__).parents[2] / "docs/technologies.md"
    text = page.read_text()
    assert [name for name in every_technology() if f"### {name}\n" not in text] == []
    assert page.with_suffix(".svg").read_text().startswith("<svg")


def test_every_capability_that_is_missing_is_said() -> None:
    flags = [each.name for each in fields(Capabilities) if each.type == "bool"]
    none_of_them = Capabilities(**dict.fromkeys(flags, False))
    assert len(lacking(none_of_them)) == len(flags) - 1  # an own kernel is said elsewhere


class Small(FakeDriver):
    """A driver that says how many a machine bears."""

    @property
    def most_at_once(self) -> tuple[int, str]:
        return 20, "each takes a part of a core"


def test_a_driver_may_say_how_many_a_machine_bears() -> None:
    assert most(FakeDriver()) is None
    assert most(Small()) == Most(count=20, reason="each takes a part of a core")


def test_a_package_comes_with_all_that_it_needs() -> None:
    known = "python3\tpython3.11 (>= 3.11.2-1~), libc6:any | libc6.1\nlibc6\tgcc-base\n"
    known += "gcc-base\t\npython3.11\tlibc6, python3, not-here\nvim\tlibc6\n"
    assert closure(["python3"], known) == {"python3", "python3.11", "libc6", "gcc-base"}
    assert closure(["unknown"], known) == set()


# --- with a driver that fails --------------------------------------------------------------------


async def test_one_that_fails_does_not_end_the_run() -> None:
    good = Subject(driver=Failing("good"), root=ROOT)
    # What it makes at first is for the trial and its works, which the fake does not know.
    bad = Subject(driver=Failing("bad", good=1 + 4 + 1), root=ROOT)
    found = await measure([bad, good], plan=QUICKEST, progress=quiet)
    names = {(each.driver, each.name) for each in found.figures}
    assert ("good", "3 at once: all gone") in names
    assert ("bad", "1 at once: all idle") in names
    assert ("bad", "3 at once: all idle") not in names
    reasons = {(each.driver, each.what, each.kind): each.reason for each in found.remarks}
    assert "the engine is gone: connection refused" in reasons["bad", "3 at once", "failed"]
    assert "3 of 3" in reasons["bad", "3 at once", "failed"]
    assert await good.driver.list() == []
    assert await bad.driver.list() == []


async def test_of_a_crowd_that_is_made_in_part_nothing_is_left() -> None:
    driver = Failing("half", good=1 + 4 + 2 + 2)
    found = await measure([Subject(driver=driver, root=ROOT)], plan=QUICKEST, progress=quiet)
    assert any("1 of 3" in each.reason for each in found.remarks)
    assert await driver.list() == []


async def test_one_that_can_do_nothing_is_left_out_of_all() -> None:
    said: list[str] = []
    good = Subject(driver=Failing("good"), root=ROOT)
    found = await measure(
        [Subject(driver=Failing("dead", good=0), root=ROOT), good],
        plan=QUICKEST, progress=quiet, announce=said.append,
    )  # fmt: skip
    assert [each.what for each in found.remarks if each.driver == "dead"] == ["first sandbox", ""]
    assert not [each for each in found.figures if each.driver == "dead"]
    assert said == ["less than a minute for 1 technologies"]


class Unlucky(FakeDriver):
    """A driver whose first sandbox can't be made, and all others can."""

    lucky = False

    async def create(self, spec: SandboxSpec) -> Sandbox:
        if not self.lucky:
            self.lucky = True
            raise RuntimeFailed("no such luck")
        return await super().create(spec)


async def test_one_that_fails_at_first_is_tried_again() -> None:
    found = await measure([Subject(driver=Unlucky(), root=ROOT)], plan=QUICKEST, progress=quiet)
    assert ("first sandbox", "failed") in {(each.what, each.kind) for each in found.remarks}
    assert "" not in {each.what for each in found.remarks}
    assert "3 at once: all gone" in {each.name for each in found.figures}


async def test_more_than_one_can_have_is_a_limit_of_resources() -> None:
    subject = Subject(driver=Failing("small"), root=ROOT, most=Most(count=2, reason="too hot"))
    found = await measure([subject], plan=QUICKEST, progress=quiet)
    limit = [each for each in found.remarks if each.kind == "resource limit"]
    assert [(each.what, each.reason) for each in limit] == [("3 at once", "too hot")]
    assert "2 at once: all idle" in {each.name for each in found.figures}


async def test_who_is_slow_lives_fewer_times_and_that_is_said() -> None:
    async def python(process: Process) -> None:
        await process.sleep(0.01)

    driver = FakeDriver({"python3": python})
    plan = replace(QUICKEST, cycles=3, seconds_for_lives=0.001)
    found = await measure([Subject(driver=driver, root=ROOT)], plan=plan, progress=quiet)
    hello = next(each for each in found.figures if each.name == "hello world: whole")
    assert len(hello.measured.samples) == 1
    fewer = {each.what: each.reason for each in found.remarks if each.kind == "fewer rounds"}
    assert fewer["hello world"].startswith("1 of 3")


# --- technologies without us ----------------------------------------------------------------------


async def test_a_program_that_ends_badly_fails_its_crowd() -> None:
    with pytest.raises(RuntimeFailed) as failure:
        await Crowd.start(FLOOR, 3, ["/usr/bin/false"])
    assert "failed" in failure.value.detail


async def test_each_program_of_a_crowd_gets_its_number() -> None:
    crowd = await Crowd.start(FLOOR, 3, ["/usr/bin/test", "%", "-lt", "3"])
    await crowd.aclose()
    assert crowd.seconds > 0
    with pytest.raises(RuntimeFailed):
        await Crowd.start(FLOOR, 4, ["/usr/bin/test", "%", "-lt", "3"])


async def test_when_one_of_a_crowd_fails_the_others_are_ended() -> None:
    script = "[ $1 = 3 ] && exit 1; echo; exec sleep 1000"
    with pytest.raises(RuntimeFailed):
        await Crowd.start(FLOOR, 4, ["/bin/sh", "-c", script, "assay-test-of-crowds", "%"])
    assert processes_named(["assay-test-of-crowds"]) == []


async def test_an_idle_crowd_stays_until_it_is_ended() -> None:
    crowd = await Crowd.start(FLOOR, 5, [FLOOR, "--idle", "assay-test-of-idleness"])
    assert len(processes_named(["assay-test-of-idleness"])) == 5 + 1  # and who has started them
    assert await crowd.end() > 0
    assert processes_named(["assay-test-of-idleness"]) == []


async def require(peer: BubblewrapAlone | LxcAlone) -> None:
    if not (await peer.probe()).works:
        assert not os.environ.get("CI"), f"CI has {peer.name}"
        pytest.skip(f"no {peer.name}")


@pytest.mark.parametrize(("children", "keepers"), [(1, 1), (2, 0)])
def test_who_keeps_one_process_alone_is_found(children: int, keepers: int) -> None:
    inner = "sleep 9 & echo $!; " * children + "wait"
    with subprocess.Popen(
        ["/bin/sh", "-c", '/bin/sh -c "$1"; true', "sh", inner],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as ours:  # fmt: skip
        try:
            assert ours.stdout is not None
            pids = [int(ours.stdout.readline()) for _ in range(children)]
            found = keepers_of(pids)
            assert len(found) == keepers
            assert not {os.getpid(), ours.pid} & set(found)
        finally:
            os.killpg(ours.pid, signal.SIGKILL)


async def test_a_tool_that_is_not_there_is_said() -> None:
    peer = BubblewrapAlone(floor=FLOOR, program="no-such-bwrap")
    health = await peer.probe()
    assert not health.works
    assert health.problems[0].remedy == "apt-get install bubblewrap"
    with pytest.raises(RuntimeMissing):
        await peer.start(ROOT, 1)


@pytest.mark.root
@pytest.mark.parametrize("peer", [BubblewrapAlone(floor=FLOOR), LxcAlone(floor=FLOOR)])
async def test_technologies_alone_leave_nothing(
    peer: BubblewrapAlone | LxcAlone, state: Path
) -> None:
    await require(peer)
    root = root_filesystem(read_settings(state=str(state)), "host")
    standing = await peer.start(root, 3)
    assert len(processes_named(standing.names)) >= 3
    assert await standing.end() > 0

    def left() -> list[object]:
        groups = Path("/sys/fs/cgroup").glob(f"*/*{standing.names[0]}*")
        return [*processes_named(standing.names), *groups]

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while left():  # noqa: ASYNC110 - the kernel does not tell
                await asyncio.sleep(0.05)
    assert left() == []
    assert list(Path(tempfile.gettempdir()).glob("assay-lxc-*")) == []


@pytest.mark.root
async def test_lxc_that_can_not_start_leaves_nothing(state: Path) -> None:
    peer = LxcAlone(floor=FLOOR)
    await require(peer)
    before = set(Path("/sys/fs/cgroup").glob("*/lxc.*assay-*"))
    with pytest.raises(DriverError):
        await peer.start(RootFilesystem(digest="none", path=state / "not-there"), 2)
    assert set(Path("/sys/fs/cgroup").glob("*/lxc.*assay-*")) <= before
    assert list(Path(tempfile.gettempdir()).glob("assay-lxc-*")) == []


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.root
def test_the_command_writes_tables_pictures_and_the_page(state: Path, tmp_path: Path) -> None:
    page, markdown_file = tmp_path / "technologies.md", tmp_path / "table.md"
    ended = subprocess.run(
        [sys.executable, "-m", "assay", "--state", state, "bench", "startup", "--driver", "lean",
         "--rounds", "1=2", "--rounds", "4=1", "--cycles", "1", "--document", page,
         "--markdown", markdown_file, "--json", tmp_path / "numbers.json"],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert ended.returncode in (0, 1), ended.stderr
    assert "less than a minute for" in ended.stderr
    for text in ("lean, prepared", "life cycle with big database file", "promises"):
        assert text in ended.stdout
    assert "| technology | 1 | p95 | × | 4 |" in markdown_file.read_text()
    assert "### lean" in page.read_text()
    assert page.with_suffix(".svg").read_text().startswith("<svg")
    (found,) = json.loads((tmp_path / "numbers.json").read_text())["reports"]
    driver_failures = [each for each in found["remarks"] if each["driver"] == "lean"]
    assert driver_failures == []
    assert len([each for each in found["figures"] if "HTTP" in each["name"]]) == 2 * 6


@pytest.mark.root
def test_orchestrators_are_measured_beside_what_needs_none(state: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "assay", "--state", state, "bench", "orchestrator",
         "--rounds", "1=1"],
        capture_output=True, text=True, timeout=100, check=False,
        env={**os.environ, "NOMAD_ADDR": "http://127.0.0.1:9", "DOCKER_HOST": "unix:///nowhere"},
    )  # fmt: skip
    assert ended.returncode in (0, 1), ended.stderr
    shown = " ".join(ended.stdout.split())
    assert "lean, prepared" in shown
    assert "nomad: left out: no Nomad listens at http://127.0.0.1:9" in shown
