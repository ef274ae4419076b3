"""Assay as an ordinary user: what works, what outlives a crash, and what an attacker gets."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ordinary import CHECKOUT, Ordinary, delegated_to, ordinary_user, said, until

pytestmark = pytest.mark.root

SAMPLE = (
    "starting/learners-have-no-groups", "ending/descendant-daemon", "ending/the-next-is-spared",
    "files/archive-in-and-out", "reattachment/programs-run-on-alone",
    "processes/bomb-exec-left-behind", "memory/eating-memory", "memory/hoard-rights",
    "leakage/locks-of-a-neighbour", "leakage/locks-on-devices", "leakage/reaching-the-agent",
)  # fmt: skip
SHORT_SAMPLE = (
    "ending/descendant-daemon", "sandboxes/sandboxes-are-apart", "memory/eating-memory",
    "leakage/locks-on-devices",
)  # fmt: skip
SAMPLES = {
    "lean": SAMPLE,
    "crun": SAMPLE,
    "runc": SHORT_SAMPLE,
    "lxc": SHORT_SAMPLE,
}
"""The agent is the same; what is runc's alone, or LXC's, is how it starts it."""
NEEDS_ROOT = {"leakage/locks-on-devices"}
NEEDS_GROUPS = {"memory/eating-memory", "memory/hoard-rights"}


def check(user: Ordinary, driver: str) -> tuple[set[str], set[str]]:
    """The names of the sample's cases that passed, and that were skipped; none fails."""
    cases = [word for name in SAMPLES[driver] for word in ("--case", name)]
    (report,) = said(user.assay("driver", "check", driver, "--json", *cases))["reports"]
    by: dict[str, set[str]] = {"passed": set(), "failed": set(), "skipped": set()}
    for result in report["cases"]:
        by[result["verdict"]].add(result["case"])
    failures = [each for each in report["cases"] if each["verdict"] == "failed"]
    assert failures == []
    return by["passed"], by["skipped"]


@pytest.mark.parametrize("driver", ["lean", "crun", "runc", "lxc"])
def test_suites_are_green_without_control_groups(ordinary: Ordinary, driver: str) -> None:
    passed, skipped = check(ordinary, driver)

    sample = set(SAMPLES[driver])
    assert skipped == sample & (NEEDS_ROOT | NEEDS_GROUPS)
    assert passed == sample - skipped


@pytest.mark.usefixtures("delegated")
@pytest.mark.parametrize("driver", ["lean", "crun", "runc", "lxc"])
def test_suites_are_green_with_delegated_groups(ordinary: Ordinary, driver: str) -> None:
    passed, skipped = check(ordinary, driver)

    assert skipped == NEEDS_ROOT
    assert passed == set(SAMPLES[driver]) - skipped


def test_the_list_of_drivers_says_what_is_weaker_and_what_mends_it(ordinary: Ordinary) -> None:
    def problems() -> list[str]:
        drivers = said(ordinary.assay("driver", "list", "--json"))["drivers"]
        by_name = {each["name"]: each for each in drivers}
        assert by_name["crun"]["works"]
        runsc = by_name["runsc"]  # missing, or for root only
        assert not runsc["works"]
        assert [each for each in runsc["problems"] if "control groups" in each["summary"]] == []
        return [each["remedy"] for each in by_name["crun"]["problems"]]

    (remedy,) = problems()
    assert f"assay-{ordinary.uid}" in remedy
    with delegated_to(ordinary):
        assert problems() == []


def test_run_works_with_an_empty_home(ordinary: Ordinary) -> None:
    ordinary.write("hello.py", "import os; print('hello', os.getuid())")

    done = ordinary.assay("run", "hello.py")

    assert (done.returncode, done.stdout) == (0, "hello 10001\n"), done.stderr


def test_a_process_that_was_killed_is_cleaned_up_after_by_the_next(ordinary: Ordinary) -> None:
    ordinary.write("wait.py", "import time; print('there', flush=True); time.sleep(60)")
    killed = ordinary.start(sys.executable, "-m", "assay", "run", "wait.py")
    assert killed.stdout is not None
    assert killed.stdout.readline() == b"there\n"
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert [each for each in ordinary.processes() if "python3" in each]  # it runs on

    assert ordinary.assay("run", "--", "true").returncode == 0

    until(lambda: not ordinary.left_over())


TWO_PROCESSES = """
import asyncio, os, signal, sys
from pathlib import Path
from assay.agent.client import Agent
from assay.agent.native import program
from assay.bootstrap.rootless import enter_user_namespace
from assay.driver.port import RootFilesystem, SandboxSpec, Secret
from assay.drivers.oci import CRUN, OciDriver

state, root, what = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
for name in ("proc", "dev", "tmp", "workspace", ".assay"):
    (root / name).mkdir(parents=True, exist_ok=True)
secret = Secret(b"s" * 32)
enter_user_namespace(state)

async def main():
    driver = OciDriver(runtime=CRUN, state=state, agent=program("agent"))
    if what == "make":
        spec = SandboxSpec(root=RootFilesystem(digest="x", path=root), secret=secret)
        print((await driver.create(spec)).id, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    (sandbox,) = await driver.list()
    state_of_it = await driver.examine(sandbox)
    agent = await Agent.connect(await driver.connect(sandbox), secret, epoch=2)
    await agent.aclose()
    await driver.destroy(sandbox)
    print(sandbox, state_of_it.running, await driver.list())
    await driver.aclose()

asyncio.run(main())
"""


def test_another_process_reaches_the_sandboxes_of_one_that_was_killed(ordinary: Ordinary) -> None:
    arguments = ("-c", TWO_PROCESSES, ordinary.state, ordinary.home / "root")
    first = ordinary.run(sys.executable, *arguments, "make")
    assert first.returncode == -signal.SIGKILL, first.stderr

    second = ordinary.run(sys.executable, *arguments, "reach")

    assert second.stdout == f"{first.stdout.strip()} True []\n", second.stderr


LOOK = """
import os
changed = []
for name in ('null', 'zero', 'full', 'random', 'urandom', 'tty'):
    for change in (lambda path: os.chmod(path, 0o600), lambda path: os.chown(path, 0, 0)):
        try:
            change(f'/dev/{{name}}')
            changed.append(name)
        except OSError:
            pass
print(os.listdir('/home'), changed, os.path.exists({home!r}))
"""


def test_a_program_sees_nothing_of_the_users_home_and_changes_no_device(
    ordinary: Ordinary,
) -> None:
    ordinary.write("look.py", LOOK.format(home=str(ordinary.home)))
    before = Path("/dev/null").stat()

    done = ordinary.assay("run", "look.py")

    assert done.stdout.startswith("[] []"), done.stdout
    assert done.stdout.strip().endswith("False"), done.stdout
    after = Path("/dev/null").stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


def test_learners_of_two_sandboxes_are_two_users_of_the_machine(ordinary: Ordinary) -> None:
    ordinary.write("wait.py", "import time; print('there', flush=True); time.sleep(60)")
    both = [ordinary.start(sys.executable, "-m", "assay", "run", "wait.py") for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
    owners = [
        Path("/proc", each.split()[0]).stat().st_uid
        for each in ordinary.processes()
        if each.endswith(" python3")
    ]
    for process in both:
        process.terminate()
        process.wait()

    learners = [owner for owner in owners if owner != ordinary.uid]
    assert len(set(learners)) == 2
    assert all(owner in ordinary.subordinate for owner in learners)
    until(lambda: not ordinary.left_over())


def test_without_subordinate_ids_the_command_that_gives_some_is_named() -> None:
    with ordinary_user("--key", "SUB_UID_COUNT=0", "--key", "SUB_GID_COUNT=0") as user:
        done = user.assay("run", "--", "true")

        assert done.returncode != 0
        assert "usermod --add-subuids" in done.stderr
        assert user.name in done.stderr


AS_ORDINARY = """
mount --bind "$1" "$2"; user=$3; shift 3
exec setpriv --reuid "$user" --regid "$user" --clear-groups "$@"
"""


def test_a_program_that_gains_no_rights_is_named_with_what_mends_it(ordinary: Ordinary) -> None:
    """Found out only when we are nobody in a namespace already: the advice is for who we were."""
    plain = ordinary.home / "newgidmap"
    real = shutil.which("newgidmap", path="/usr/bin:/bin")
    assert real is not None
    shutil.copyfile(real, plain)
    plain.chmod(0o755)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", AS_ORDINARY, "sh", plain, real, str(ordinary.uid),
         sys.executable, "-m", "assay", "run", "--", "true"],
        cwd=ordinary.home, env={**ordinary.variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode != 0
    assert "they are not set-user-id; chmod u+s" in done.stderr


def test_a_state_folder_that_others_can_change_is_refused(ordinary: Ordinary) -> None:
    open_to_all = ordinary.home / "open"
    open_to_all.mkdir()
    os.chown(open_to_all, ordinary.uid, ordinary.uid)
    open_to_all.chmod(0o777)

    done = ordinary.assay("run", "--", "true", ASSAY_STATE=str(open_to_all / "state"))

    assert done.returncode != 0
    assert "others can change" in done.stderr


def test_a_device_is_shown_that_everybody_may_open_and_no_other(ordinary: Ordinary) -> None:
    device = Path("/dev", f"assay-test-{os.getpid()}")
    folder = ordinary.home / "environments/zero"
    shutil.copytree(CHECKOUT / "environments/bash", folder)
    text = (folder / "environment.toml").read_text()
    text = text.replace('name = "bash"', f'name = "zero"\ndevices = ["{device}"]')
    (folder / "environment.toml").write_text(text)
    (folder / "use.sh").write_text(f"head -c 3 {device} | od -An -tx1; echo hello >{device}\n")
    subprocess.run(["chown", "-R", str(ordinary.uid), folder.parent], check=True)
    command = ("--environments", str(folder.parent), "run", "-e", "zero", str(folder / "use.sh"))
    os.mknod(device, stat.S_IFCHR | 0o660, os.makedev(1, 5))
    try:
        device.chmod(0o660)
        refused = ordinary.assay(*command, ASSAY_DEVICES=str(device))
        assert f"chmod o+rw {device}" in refused.stderr
        device.chmod(0o666)
        shown = ordinary.assay(*command, ASSAY_DEVICES=str(device))
        assert (shown.stdout, shown.returncode) == (" 00 00 00\n", 0), shown.stderr
        assert "is not allowed on this machine" in ordinary.assay(*command).stderr
    finally:
        device.unlink()
        shutil.rmtree(folder.parent)
