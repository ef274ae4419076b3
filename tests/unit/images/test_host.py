"""The `host` image, built of made-up machines and of this one."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from assay.domain.errors import Unavailable
from assay.driver.port import RootFilesystem
from assay.images import collect_garbage, host_image

SECRET = "do not show this"


def put(file: Path, content: str = "", mode: int = 0o644) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    file.chmod(mode)


def link(file: Path, target: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.symlink_to(target)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A small machine with a merged /usr, and with what nobody may see."""
    root = tmp_path / "machine"
    put(root / "usr/bin/bash", mode=0o755)
    put(root / "usr/local/bin/private", SECRET)
    put(root / "usr/etc/npmrc", SECRET)
    (root / "usr/lib").mkdir()
    for name in ("bin", "lib"):
        link(root / name, f"usr/{name}")
    put(root / "var/lib/dpkg/status", "packages")
    etc = root / "etc"
    put(etc / "ld.so.cache", "libraries")
    put(etc / "services", "http 80/tcp")
    put(etc / "ssl/certs/ca-certificates.crt", "certificates")
    put(etc / "java-17-openjdk/security/java.security", "rules")
    link(etc / "alternatives/java", "/usr/lib/jvm/java-17-openjdk/bin/java")
    link(etc / "fonts/conf.d/10.conf", "../conf.avail/10.conf")
    put(etc / "fonts/conf.avail/10.conf", "fonts")
    link(etc / "localtime", "/usr/share/zoneinfo/Etc/UTC")
    put(etc / "R/Renviron", "R")
    put(root / "var/lib/ghc/package.conf.d/base.conf", "libraries")
    link(root / "var/lib/ghc/package.conf.d/shadow.conf", "/etc/shadow")
    put(root / "var/lib/php/sessions/somebody", SECRET)
    plant_secrets(etc)
    return root


def plant_secrets(etc: Path) -> None:
    for name in ("shadow", "passwd", "hosts", "hostname", "pip.conf", "ssh/ssh_host_key"):
        put(etc / name, SECRET)
    for name in ("R/Renviron.site", "R/Rprofile.site", "php/8.2/cli/php.ini"):
        put(etc / name, SECRET)
    put(etc / "ssl/private/key.pem", SECRET)
    put(etc / "ssl/certs/this-machine.pem", SECRET)
    put(etc / "java-17-openjdk/jmxremote.password", SECRET, mode=0o600)
    put(etc / "fonts/closed/open.conf", SECRET)
    (etc / "fonts/closed").chmod(0o700)
    put(etc / "fonts/huge.conf", SECRET * 1_000_000)
    link(etc / "fonts/shadow.conf", "/etc/shadow")
    link(etc / "fonts/upwards.conf", "../../../../../etc/shadow")
    link(etc / "alternatives/private", "/usr/local/bin/private")
    link(etc / "alternatives/at-home", "/home/somebody/bin/tool")
    link(etc / "protocols", "/srv/protocols")
    os.mkfifo(etc / "fonts/pipe.conf")


def everything(folder: Path) -> Iterator[Path]:
    for path, folders, files in os.walk(folder):
        yield from (Path(path) / name for name in (*folders, *files))


def test_a_sandbox_sees_what_programs_need(machine: Path, tmp_path: Path) -> None:
    root = host_image(tmp_path / "state", machine=machine)
    etc = root.path / "etc"
    assert (etc / "ld.so.cache").read_text() == "libraries"
    assert (etc / "ssl/certs/ca-certificates.crt").read_text() == "certificates"
    assert (etc / "java-17-openjdk/security/java.security").read_text() == "rules"
    assert (etc / "fonts/conf.d/10.conf").read_text() == "fonts"
    assert (etc / "R/Renviron").read_text() == "R"
    assert (root.path / "var/lib/ghc/package.conf.d/base.conf").read_text() == "libraries"
    assert (etc / "alternatives/java").readlink() == Path("/usr/lib/jvm/java-17-openjdk/bin/java")
    assert (etc / "localtime").readlink() == Path("/usr/share/zoneinfo/Etc/UTC")
    assert (root.path / "bin").readlink() == Path("usr/bin")
    assert (root.path / "var/run").readlink() == Path("/run")
    assert "learner:x:10001:10001:learner:/workspace:/bin/bash\n" in (etc / "passwd").read_text()
    for name in ("proc", "dev", "tmp", "workspace", ".assay", "usr", "sys", "var/tmp", "run"):
        assert list((root.path / name).iterdir()) == []


def test_nothing_else_of_the_machine_is_in_it(machine: Path, tmp_path: Path) -> None:
    root = host_image(tmp_path / "state", machine=machine)
    for path in everything(root.path):
        assert path.is_symlink() or path.is_dir() or SECRET not in path.read_text(), path
        assert path.name not in ("shadow.conf", "upwards.conf", "private", "at-home", "pipe.conf")
    assert {path.name for path in (root.path / "etc").iterdir()} == {
        "R", "alternatives", "fonts", "group", "hostname", "hosts", "java-17-openjdk",
        "ld.so.cache", "localtime", "mtab", "nsswitch.conf", "passwd", "services", "ssl",
    }  # fmt: skip
    in_var = {str(path.relative_to(root.path / "var")) for path in everything(root.path / "var")}
    folders = {"run", "tmp", "lib", "lib/ghc", "lib/ghc/package.conf.d"}
    assert in_var == folders | {"lib/ghc/package.conf.d/base.conf"}


def test_everything_is_readable_and_nothing_writable(machine: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        root = host_image(tmp_path / "state", machine=machine)
    finally:
        os.umask(before)
    for path in (root.path.parent, root.path, *everything(root.path)):
        facts = path.lstat()
        if not stat.S_ISLNK(facts.st_mode):
            assert stat.S_IMODE(facts.st_mode) == (0o755 if path.is_dir() else 0o644), path
        assert facts.st_uid == os.getuid()


def test_usr_is_the_machines_own_but_for_what_was_put_there_by_hand(
    machine: Path, tmp_path: Path
) -> None:
    root = host_image(tmp_path / "state", machine=machine)
    usr, *hidden = root.mounts
    assert (usr.source, usr.target) == (machine / "usr", "/usr")
    assert [mount.target for mount in hidden] == ["/usr/local", "/usr/etc"]
    assert all(list(mount.source.iterdir()) == [] for mount in hidden)


def test_a_machine_that_never_merged_usr_gets_mounts(machine: Path, tmp_path: Path) -> None:
    (machine / "bin").unlink()
    put(machine / "bin/sh")
    root = host_image(tmp_path / "state", machine=machine)
    assert {mount.target for mount in root.mounts} == {"/usr", "/bin", "/usr/local", "/usr/etc"}
    assert (root.path / "bin").is_dir()
    assert list((root.path / "bin").iterdir()) == []


def test_a_top_level_link_out_of_usr_is_not_followed(machine: Path, tmp_path: Path) -> None:
    link(machine / "sbin", "/opt/sbin")
    assert not (host_image(tmp_path / "state", machine=machine).path / "sbin").is_symlink()


def test_the_same_machine_gives_the_same_image(machine: Path, tmp_path: Path) -> None:
    first = host_image(tmp_path / "state", machine=machine)
    built = first.path.stat()
    assert host_image(tmp_path / "state", machine=machine) == first
    assert first.path.stat().st_ino == built.st_ino
    assert host_image(tmp_path / "elsewhere", machine=machine).digest == first.digest


def change_a_file(machine: Path) -> None:
    put(machine / "etc/services", "ssh 22/tcp")


def change_a_link(machine: Path) -> None:
    (machine / "etc/localtime").unlink()
    link(machine / "etc/localtime", "/usr/share/zoneinfo/Europe/Berlin")


def install_a_package(machine: Path) -> None:
    put(machine / "var/lib/dpkg/status", "more packages")


def withdraw_a_file(machine: Path) -> None:
    (machine / "etc/services").chmod(0o600)


@pytest.mark.parametrize(
    "change", [change_a_file, change_a_link, install_a_package, withdraw_a_file]
)
def test_another_machine_gives_another_image(
    machine: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    before = host_image(tmp_path / "state", machine=machine)
    change(machine)
    after = host_image(tmp_path / "state", machine=machine)
    assert after.digest != before.digest
    assert before.path.is_dir()


def test_what_is_not_in_the_image_does_not_change_it(machine: Path, tmp_path: Path) -> None:
    before = host_image(tmp_path / "state", machine=machine)
    put(machine / "etc/shadow", "new passwords")
    put(machine / "etc/hostname", "renamed")
    assert host_image(tmp_path / "state", machine=machine) == before


def damage_by_emptying(root: RootFilesystem) -> None:
    (root.path / "etc/ld.so.cache").write_text("")


def damage_by_removing(root: RootFilesystem) -> None:
    shutil.rmtree(root.path / "etc/fonts")


def damage_by_removing_all_but_the_name(root: RootFilesystem) -> None:
    shutil.rmtree(root.path)


@pytest.mark.parametrize(
    "damage",
    [damage_by_emptying, damage_by_removing, damage_by_removing_all_but_the_name],
)
def test_a_damaged_skeleton_is_built_again(
    machine: Path, tmp_path: Path, damage: Callable[[RootFilesystem], None]
) -> None:
    root = host_image(tmp_path / "state", machine=machine)
    damage(root)
    assert host_image(tmp_path / "state", machine=machine) == root
    assert (root.path / "etc/ld.so.cache").read_text() == "libraries"
    assert (root.path / "etc/fonts/conf.avail/10.conf").is_file()


def test_what_a_dead_builder_left_is_no_hindrance(machine: Path, tmp_path: Path) -> None:
    put(tmp_path / "state/host/.in-work/root/etc/passwd", "half")
    root = host_image(tmp_path / "state", machine=machine)
    assert [item.name for item in root.path.parents[1].iterdir()] == [root.digest]


def build(state: Path, machine: Path) -> str:
    root = host_image(state, machine=machine)
    assert (root.path / "etc/ld.so.cache").read_text() == "libraries"
    assert (root.path / "etc/passwd").is_file()
    return root.digest


BUILDER = """
import sys
from pathlib import Path
from assay.images import host_image

for _ in range(3):
    print(host_image(Path(sys.argv[1]), machine=Path(sys.argv[2])).digest)
"""


def test_many_builders_at_once_make_one_skeleton(machine: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"

    def build_elsewhere(_: int) -> list[str]:
        command = [sys.executable, "-c", BUILDER, str(state), str(machine)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout.split()

    with ThreadPoolExecutor(3) as others, ThreadPoolExecutor(8) as threads:
        elsewhere = others.map(build_elsewhere, range(3))
        here = list(threads.map(lambda _: build(state, machine), range(16)))
        digests = {*here, *(digest for each in elsewhere for digest in each)}
    assert [item.name for item in (state / "host").iterdir()] == [*digests]


def test_garbage_is_what_nobody_keeps(machine: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert collect_garbage(state, keep=()) == []
    old = host_image(state, machine=machine)
    change_a_file(machine)
    kept = host_image(state, machine=machine)
    put(state / "host/.in-work/half")
    assert collect_garbage(state, keep=[kept.digest]) == [old.digest]
    assert [item.name for item in (state / "host").iterdir()] == [kept.digest]
    assert host_image(state, machine=machine) == kept


def test_a_state_folder_that_cannot_be_is_a_clear_error(machine: Path, tmp_path: Path) -> None:
    put(tmp_path / "file")
    with pytest.raises(Unavailable, match=r"Not a directory.*another one"):
        host_image(tmp_path / "file", machine=machine)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(machine: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    put(machine / "etc/mime.types", "x" * 2_000_000)
    script = (
        "import sys; from pathlib import Path\n"
        "from assay.domain.errors import DiskFull; from assay.images import host_image\n"
        "try: host_image(Path(sys.argv[1]), machine=Path(sys.argv[2]))\n"
        "except DiskFull as error: print(error.message)\n"
        "print(sorted(p.name for p in Path(sys.argv[1], 'host').iterdir()))\n"
    )
    mount = 'mount -t tmpfs -o size=1m none "$1" && exec "$0" -c "$3" "$1" "$2"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, sys.executable, state, machine, script],
        capture_output=True,
        text=True,
        check=True,
    )
    message, left = done.stdout.splitlines()
    assert message.startswith("no room for the host image")
    assert left == "[]"


def test_this_machine_has_an_image_and_finding_it_again_is_quick(tmp_path: Path) -> None:
    began = time.thread_time()
    root = host_image(tmp_path)
    to_build = time.thread_time() - began
    assert (root.path / "etc/passwd").is_file()
    assert {"/usr", "/usr/local"} <= {mount.target for mount in root.mounts}
    seconds = []
    for _ in range(20):
        began = time.thread_time()  # the processor's: others may be busy on this machine
        assert host_image(tmp_path) == root
        seconds.append(time.thread_time() - began)
    assert min(seconds) < max(0.005, to_build / 2)
