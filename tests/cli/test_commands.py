"""The other commands, and help."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from command_line import Assay

from assay.cli.app import COMMANDS
from assay.cli.exit_status import MEANINGS


def modules_of(*arguments: str) -> set[str]:
    """What has been imported when a command has said what it has to say."""
    script = """if True:
        import contextlib, os, sys
        from assay.cli.app import run_app
        with contextlib.redirect_stdout(open(os.devnull, "w")):
            run_app(sys.argv[1:])
        print(*sys.modules)
    """
    shown = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    return set(shown.split())


def test_version_is_quick(assay: Assay) -> None:
    assert assay("--version").stdout == b"assay 0.1.0\n"
    slow = {"asyncio", "rich", "msgspec", "ssl", "tomllib", "assay.drivers", "assay.domain"}
    assert slow & modules_of("--version") == set()


@pytest.mark.parametrize(
    "command", ["run", "grade", "task new", "task check", "env list", "bench exec"]
)
def test_commands_without_a_server_load_none_of_what_it_needs(command: str) -> None:
    slow = {"sqlalchemy", "aiohttp", "psycopg", "prometheus_client", "assay.config.node",
            "assay.doctor.checks", "assay.doctor.facts"}  # fmt: skip
    assert slow & modules_of(*command.split(), "--help") == set()


@pytest.mark.parametrize(
    "command", [[], ["run"], ["demo"], ["env"], ["env", "list"], ["env", "test"],
                ["task"], ["task", "new"], ["task", "check"], ["task", "test"], ["driver"],
                ["driver", "list"], ["driver", "check"]],
    ids=lambda command: " ".join(command) or "assay",
)  # fmt: skip
def test_every_command_has_help(assay: Assay, command: list[str]) -> None:
    ended = assay(*command, "--help")
    assert ended.status == 0
    assert b"Usage: assay" in ended.stdout
    assert max(len(line) for line in ended.stdout.decode().splitlines()) <= 100


def test_help_lists_every_command_and_every_status(assay: Assay) -> None:
    listed = assay("--help").stdout.decode()
    assert all(f"  {name} " in listed for name in COMMANDS)
    explained = assay("run", "--help").stdout.decode()
    assert all(f"{status.value:>5}  {text}" in explained for status, text in MEANINGS.items())


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["driver", "check"]])
def test_a_wrong_command_line_is_one_line(assay: Assay, arguments: list[str]) -> None:
    ended = assay(*arguments)
    assert ended.status == 2
    assert "--help" in ended.complaint


@pytest.mark.root
def test_environments_are_listed_with_what_they_lack(
    assay: Assay, environments: Callable[..., str]
) -> None:
    folder = environments(tool="/usr/bin/no-such-shell")
    found = assay("--environments", folder, "env", "list", "--json").json["environments"]
    by_name = {each["name"]: each for each in found}
    assert not by_name["sh"]["usable"]
    assert "apt-get install dash" in by_name["sh"]["problem"]
    assert by_name["bash"]["usable"]
    shown = assay("--environments", folder, "env", "list").stdout.decode()
    assert "apt-get install dash" in shown


@pytest.mark.root
def test_sample_programs_end_as_promised(assay: Assay) -> None:
    found = assay("env", "test", "bash", "--json").json
    assert found["passed"]
    assert {each["outcome"] for each in found["programs"]} >= {"exited(0)", "out_of_memory"}


@pytest.mark.root
def test_a_sample_program_that_ends_otherwise_fails_the_test(
    assay: Assay, environments: Callable[..., str]
) -> None:
    folder = environments()
    (assay.folder / "environments" / "sh" / "hello.sh").write_text("exit 3\n")
    ended = assay("--environments", folder, "env", "test", "sh")
    assert ended.status == 1
    assert "exited(3) instead of exited(0)" in ended.stdout.decode()


@pytest.mark.root
def test_drivers_are_listed(assay: Assay) -> None:
    del assay.variables["ASSAY_DRIVER"]
    found = assay("driver", "list", "--json").json
    assert found["default"] == "lean"
    works = {each["name"]: each["works"] for each in found["drivers"]}
    assert works["crun"]
    assert {"docker:runsc", "firecracker", "fake"} <= works.keys()
    assay.variables |= {"ASSAY_CRUN": "/nowhere/crun", "DOCKER_HOST": "garbage"}
    shown = assay("driver", "list").stdout.decode()
    # The table breaks its lines where this machine's versions leave room.
    assert "install it: apt-get install crun" in " ".join(shown.split())
    assert "'garbage' is no engine's address" in " ".join(shown.split())


@pytest.mark.root
@pytest.mark.parametrize("driver", ["fake", "lean"])
def test_a_driver_is_checked(assay: Assay, driver: str) -> None:
    ended = assay("driver", "check", driver, "--case", "sandboxes/agent-killed", "--json")
    assert (ended.status, ended.stderr) == (0, b"")
    (report,) = ended.json["reports"]
    assert (report["driver"], report["green"], len(report["cases"])) == (driver, True, 1)


@pytest.mark.root
def test_a_driver_that_does_not_work_is_not_checked(assay: Assay) -> None:
    assay.variables["ASSAY_RUNC"] = "/nowhere/runc"
    ended = assay("driver", "check", "runc", "--case", "sandboxes/*")
    assert ended.status == 113
    assert "apt-get install runc" in ended.complaint


@pytest.mark.root
@pytest.mark.slow
def test_the_demo_shows_programs_and_their_costs(assay: Assay) -> None:
    ended = assay("demo")
    assert (ended.status, ended.stderr) == (0, b"")
    shown = ended.stdout.decode()
    for words in ("python/hello.py", "bash/hello.sh", "timed_out(cpu)", "out_of_memory",
                  "How to go on:", "3 2 1 go"):  # fmt: skip
        assert words in shown


@pytest.mark.root
def test_whatever_umask_it_is_given_users_of_sandboxes_get_through(assay: Assay) -> None:
    before = os.umask(0o077)
    try:
        ended = assay("--state", assay.folder / "new", "run", "--", "true")
    finally:
        os.umask(before)
    assert (ended.status, ended.stderr) == (0, b"")
