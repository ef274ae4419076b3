"""Every exit status of docs/cli.md, produced for real: one line, and nothing left behind."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import Assay, Ended, finish, read_until

from assay.cli.exit_status import MEANINGS

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
WAIT = ("run", "--", "bash", "-c", "echo ready; sleep 60")


def test_the_table_in_the_documentation_is_the_one_in_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", DOCUMENT.read_text(), re.MULTILINE)
    assert {int(number): meaning for number, meaning in rows} == {
        status.value: meaning for status, meaning in MEANINGS.items()
    }


@pytest.mark.root
@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("exit 137", 137), ("kill -SEGV $$", 139), ("kill -9 $$", 137)],
)
def test_the_program_decides(assay: Assay, script: str, status: int) -> None:
    ended = assay("run", "--", "bash", "-c", script)
    assert (ended.status, ended.stdout, ended.stderr) == (status, b"", b"")


@pytest.mark.root
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--driver", "crunn", "--", "true"], 113, "did you mean crun?"),
        (["-e", "pyhton", "--", "true"], 110, "did you mean python?"),
        (["notes.xyz"], 110, "no environment takes 'notes.xyz'"),
        (["missing.py"], 2, "there is no file missing.py here"),
        (["./"], 2, "is a folder"),
        (["--tmie", "3", "--", "true"], 2, "--time"),
        (["--time", "0", "--", "true"], 2, "--time"),
        ([], 2, "--help"),
        (["--file", "nowhere", "--", "true"], 2, "nowhere"),
        (["--time", "121", "--", "true"], 111, "at most 120 s"),
        (["--cpu", "121", "--", "true"], 111, "at most 120 s"),
        (["--memory", "99999", "--", "true"], 111, "at most 1024 MB"),
        (["--output", "99999", "--", "true"], 111, "at most 64 MB"),
        (["--memory", "1", "--", "true"], 2, "at least"),
        (["--", "no-such-program"], 127, "No such file or directory"),
        (["--", "/etc/passwd"], 126, "Permission denied"),
        (["--time", "0.5", "--", "sleep", "60"], 124, "--time S gives it more (at most 120"),
        (["--cpu", "0.5", "--", "bash", "-c", "while :; do :; done"], 124, "--cpu S gives"),
        (["--output", "1", "--", "yes"], 121, "--output MB gives it more (at most 64"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    assay: Assay, arguments: list[str], status: int, words: str
) -> None:
    assay.write("notes.xyz", "")
    ended = assay("run", *arguments)
    assert ended.status == status
    assert words in ended.complaint


@pytest.mark.root
def test_too_much_memory(assay: Assay) -> None:
    assay.write("hog.py", "hoard = [bytearray(1 << 20) for _ in range(4096)]\n")
    ended = assay("run", "--memory", "64", "hog.py")
    assert ended.status == 120
    assert "memory limit of 64 MB; --memory MB gives it more (at most 2048" in ended.complaint


@pytest.mark.root
def test_a_limit_at_its_ceiling_is_not_said_to_be_raisable(
    assay: Assay, environments: Callable[..., str]
) -> None:
    assay.variables["ASSAY_ENVIRONMENTS"] = environments(limits={"wall_seconds": "0.5"})
    ended = assay("run", "-e", "sh", "--", "sleep", "9")
    assert ended.status == 124
    assert "0.5 s, the most that the environment sh allows" in ended.complaint


@pytest.mark.root
def test_an_environment_whose_limit_is_above_its_ceiling(
    assay: Assay, environments: Callable[..., str]
) -> None:
    assay.variables["ASSAY_ENVIRONMENTS"] = environments(ceilings={"wall_seconds": "1"})
    ended = assay("run", "-e", "sh", "--", "true")
    assert ended.status == 112
    assert "wall_seconds" in ended.complaint


@pytest.mark.root
def test_a_compiler_that_fails(assay: Assay) -> None:
    ended = assay("run", assay.write("wrong.c", "int main( {"))
    assert (ended.status, ended.stdout) == (1, b"")
    assert b"wrong.c:1" in ended.stderr
    assert b"assay:" not in ended.stderr


@pytest.mark.root
def test_an_environment_whose_tool_is_missing(
    assay: Assay, environments: Callable[..., str]
) -> None:
    assay.variables["ASSAY_ENVIRONMENTS"] = environments(tool="/usr/bin/no-such-shell")
    ended = assay("run", "-e", "sh", "--", "true")
    assert ended.status == 112
    assert "apt-get install dash" in ended.complaint


@pytest.mark.root
def test_an_environment_that_is_written_wrongly(
    assay: Assay, environments: Callable[..., str]
) -> None:
    folder = environments()
    (Path(folder) / "sh" / "environment.toml").write_text('name = "sh"\n')
    assay.variables["ASSAY_ENVIRONMENTS"] = folder
    ended = assay("run", "-e", "sh", "--", "true")
    assert ended.status == 112
    assert "missing" in ended.complaint


@pytest.mark.root
def test_a_runtime_that_is_not_there(assay: Assay) -> None:
    assay.variables["ASSAY_CRUN"] = "/nowhere/crun"
    ended = assay("run", "--", "true")
    assert ended.status == 113
    assert "apt-get install crun" in ended.complaint


@pytest.mark.root
def test_a_runtime_that_fails(assay: Assay) -> None:
    failing = assay.write("crun", "#!/bin/sh\necho 'out of luck' >&2\nexit 1\n")
    failing.chmod(0o755)
    assay.variables["PATH"] = f"{assay.folder}:{os.environ['PATH']}"
    ended = assay("run", "--", "true")
    assert ended.status == 114
    assert "out of luck" in ended.complaint


@pytest.mark.root
def test_no_runtime_that_works(assay: Assay, tmp_path: Path) -> None:
    assay.variables |= {
        "ASSAY_LEAN": "/nowhere/lean", "ASSAY_CRUN": "/nowhere/crun", "ASSAY_RUNC": "/bin/false",
        "ASSAY_RUNSC": "/bin/false",
    }  # fmt: skip
    del assay.variables["ASSAY_DRIVER"]
    ended = assay("run", "--", "true")
    assert ended.status == 113
    assert "assay doctor" in ended.complaint


@pytest.mark.root
def test_another_runtime_is_found_when_the_fastest_is_missing(assay: Assay) -> None:
    if shutil.which("runc") is None:
        pytest.skip("needs runc")
    assay.variables |= {"ASSAY_LEAN": "/bin/false", "ASSAY_CRUN": "/nowhere/crun"}
    del assay.variables["ASSAY_DRIVER"]
    ended = assay("run", "--json", "--", "true")
    assert (ended.status, ended.json["driver"]) == (0, "runc")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0755", "tmpfs", str(folder)]
    subprocess.run(mount, check=True, timeout=10)
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=10)


@pytest.mark.root
def test_a_full_disk(assay: Assay, full_disk: Path) -> None:
    assay.state = full_disk
    (full_disk / "filler").write_bytes(bytes(100_000))
    with (full_disk / "rest").open("wb", buffering=0) as rest:
        try:
            while rest.write(bytes(4096)):
                pass
        except OSError:
            pass
    ended = assay("run", "--", "true")
    assert ended.status == 115
    assert "free some" in ended.complaint
    assert assay.sandboxes() == []


def _lost(assay: Assay, end_it: Callable[[], object]) -> Ended:
    process = assay.start(*WAIT)
    read_until(process, b"ready\n")
    end_it()
    return finish(process)


@pytest.mark.root
def test_a_sandbox_that_was_ended_from_outside(assay: Assay) -> None:
    def destroy() -> None:
        sandbox = assay.sandboxes()[0]
        kept = assay.state / "crun" / "sandboxes" / sandbox / "runtime"
        subprocess.run(
            ["crun", "--root", kept, "delete", "--force", sandbox], check=True, timeout=20
        )

    ended = _lost(assay, destroy)
    assert ended.status == 116
    assert "ended from outside" in ended.complaint


@pytest.mark.root
def test_an_agent_that_was_killed(assay: Assay) -> None:
    ended = _lost(assay, lambda: os.kill(assay.agent_pid(), signal.SIGKILL))
    assert ended.status == 117
    assert "the agent died" in ended.complaint


@pytest.mark.root
def test_a_broken_configuration(assay: Assay) -> None:
    assay.variables["ASSAY_CONFIG"] = str(assay.write("assay.toml", "driver = 3\n"))
    ended = assay("run", "--", "true")
    assert ended.status == 2
    assert "driver: this must be a text" in ended.complaint


def serve(assay: Assay, port: int = 0) -> Ended:
    database = f"sqlite:///{assay.folder}/server.db"
    return assay(
        "serve", "--driver", "fake", "--listen", f"127.0.0.1:{port}", "--database", database
    )


def test_a_server_whose_address_another_process_has(assay: Assay, tmp_path: Path) -> None:
    assay.state = tmp_path / "state"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = serve(assay, taken.getsockname()[1])
    assert ended.status == 104
    assert "another server has it: choose one with --listen" in ended.complaint


def test_a_second_server_of_a_state_folder(assay: Assay, tmp_path: Path) -> None:
    assay.state = tmp_path / "state"
    assay.state.mkdir(mode=0o700)
    with (assay.state / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = serve(assay)
    assert ended.status == 104
    assert "another server, process" in ended.complaint


def test_a_server_to_be_loaded_that_does_not_answer(assay: Assay) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    for profile in ("mooc", "claims"):
        ended = assay("bench", "load", profile, "--server", url)
        assert ended.status == 105
        assert f"no server answers at {url}" in ended.complaint
