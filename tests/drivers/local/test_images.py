"""Images whose files have owners, and working folders that are the image's own."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from assay.agent.files import list_files, read_file, write_file
from assay.agent.session import Session, open_session
from assay.domain.command import Command
from assay.domain.errors import RuntimeFailed
from assay.domain.limits import MIB, SandboxLimits
from assay.domain.outcome import OutcomeKind
from assay.driver.port import RootFilesystem, SandboxSpec
from assay.drivers.linux.driver import LocalDriver
from assay.drivers.linux.folder import SandboxFolder
from assay.drivers.linux.kernel import detach, mount, open_folder_in, user_namespace
from assay.drivers.linux.working_folder import find

pytestmark = pytest.mark.root

PYTHON = "/usr/bin/python3"
APP, STAFF = 1000, 1001
"""The image's user and group; its other files are root's, or user 70's."""
TIGHT = SandboxLimits(memory_bytes=64 * MIB, processes=20, disk_bytes=4 * MIB, inodes=60)

Image = Callable[..., RootFilesystem]


@pytest.fixture
def image(root: RootFilesystem) -> Image:
    """The machine's programs, and /app: files of several owners; its user is `app`."""
    app = root.path / "srv" / "app"
    (app / "mine" / "deep").mkdir(parents=True)
    (app / "roots").mkdir()
    for name, text, mode, user, group in (
        ("mine.txt", "mine\n", 0o644, APP, STAFF),
        ("mine/deep/x.txt", "x\n", 0o644, APP, STAFF),
        ("roots.txt", "root's\n", 0o644, 0, 0),
        ("roots/y.txt", "y\n", 0o644, 0, 0),
        ("staff.txt", "staff\n", 0o640, 0, STAFF),
        ("secret.txt", "secret\n", 0o600, 70, 70),
        ("setuid", "", 0o4755, 0, 0),
    ):
        file = app / name
        file.write_text(text)
        os.chown(file, user, group)
        file.chmod(mode)
    (app / "setuid").write_bytes(Path("/usr/bin/id").read_bytes())
    for folder in (app / "mine", app / "mine" / "deep"):
        os.chown(folder, APP, STAFF)
    made = replace(root, user=APP, group=STAFF, working_folder="/srv/app", owners=True)
    return lambda **changes: replace(made, **changes)


def fingerprint(root: RootFilesystem) -> str:
    """Changes when anything in the image does: content, owners, modes, times, names."""
    found = hashlib.sha256()
    for path in sorted(root.path.rglob("*")):
        facts = path.lstat()
        found.update(repr((
            str(path), facts.st_mode, facts.st_uid, facts.st_gid, facts.st_mtime_ns,
            facts.st_ctime_ns, sorted(os.listxattr(path, follow_symlinks=False)),
        )).encode())  # fmt: skip
        if path.is_file() and not path.is_symlink():
            found.update(path.read_bytes())
    return found.hexdigest()


async def python(session: Session, root: RootFilesystem, program: str, **options: object) -> str:
    """The output of a Python program in the working folder; fails when it does."""
    command = Command(
        argv=(PYTHON, "-I", "-S", "-c", program), uid=root.user, gid=root.group,
        working_directory=root.working_folder,
    )  # fmt: skip
    done = await session.run(replace(command, **options))  # type: ignore[arg-type]
    assert done.outcome.success, (done.outcome, done.stdout, done.stderr)
    return done.stdout.decode().strip()


OWNERS = """
import os
for name in ("mine.txt", "roots.txt", "secret.txt", "."):
    facts = os.lstat(name)
    print(name, facts.st_uid, facts.st_gid, oct(facts.st_mode & 0o7777))
"""


async def test_an_images_files_belong_to_whom_they_belong_in_the_image(
    driver: LocalDriver, spec: SandboxSpec, image: Image
) -> None:
    root = image()
    before = fingerprint(root)
    async with open_session(driver, replace(spec, root=root)) as session:
        assert session.sandbox.facts["owners"] == "shown"
        assert (await python(session, root, OWNERS)).splitlines() == [
            "mine.txt 1000 1001 0o644", "roots.txt 0 0 0o644", "secret.txt 70 70 0o600",
            ". 1000 1001 0o755",
        ]  # fmt: skip
        assert await python(session, root, "import os; print(os.getresuid(), os.getresgid())") == (
            "(1000, 1000, 1000) (1001, 1001, 1001)"
        )
        assert "root" in await python(
            session, root, "print(open('/srv/app/secret.txt').read(), 'root')", privileged=True
        )
    assert fingerprint(root) == before


async def test_an_image_without_owners_belongs_to_nobody(
    lean: LocalDriver, spec: SandboxSpec, image: Image
) -> None:
    root = image(owners=False)
    async with open_session(lean, replace(spec, root=root)) as session:
        assert "owners" not in session.sandbox.facts
        assert await python(session, root, OWNERS) == "\n".join(
            ["mine.txt 65534 65534 0o644", "roots.txt 65534 65534 0o644",
             "secret.txt 65534 65534 0o600", ". 1000 1001 0o755"]
        )  # fmt: skip


async def test_where_owners_cannot_be_mapped_sandboxes_are_made_all_the_same_and_say_so(
    lean: LocalDriver, spec: SandboxSpec, image: Image, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Overlays, as of a container in which Assay runs, are such file systems."""
    root, folder = image(), tmp_path_factory.mktemp("overlay")
    folder.chmod(0o755)
    mount("image", folder, "overlay", options=f"lowerdir={root.path}:{folder}")
    try:
        hidden = replace(root, path=folder)
        async with open_session(lean, replace(spec, root=hidden)) as session:
            assert session.sandbox.facts["owners"] == "hidden"
            assert "secret.txt 65534 65534 0o600" in await python(session, hidden, OWNERS)
            assert await python(session, hidden, "open('new', 'w'); print('fine')") == "fine"
    finally:
        detach(folder)
    assert (await lean.probe()).problems == ()  # the state folder's file system can do it


ATTEMPTS = """
import errno, os
def attempt(name, what):
    try:
        what()
        print(name, "done")
    except OSError as error:
        print(name, errno.errorcode[error.errno])
attempt("read secret", lambda: open("secret.txt").read())
attempt("write root's", lambda: open("roots.txt", "a"))
attempt("truncate root's", lambda: os.truncate("roots.txt", 0))
attempt("mode of root's", lambda: os.chmod("roots.txt", 0o666))
attempt("take root's", lambda: os.chown("roots.txt", os.getuid(), -1))
attempt("into root's folder", lambda: open("roots/new", "w"))
attempt("out of root's folder", lambda: os.unlink("roots/y.txt"))
attempt("give away", lambda: os.chown("mine.txt", 0, 0))
attempt("read staff's", lambda: open("staff.txt").read())
attempt("link to secret", lambda: os.link("secret.txt", "hard"))
attempt("device", lambda: os.mknod("null", 0o020666, os.makedev(1, 3)))
attempt("overlay's mark", lambda: os.setxattr("mine", "trusted.overlay.opaque", b"y"))
attempt("overlay's way", lambda: os.setxattr("mine", "trusted.overlay.redirect", b"/../roots"))
attempt("whiteout", lambda: os.mknod("gone", 0o020000, 0))
"""


async def test_a_learner_changes_what_is_its_own_and_nothing_else(
    driver: LocalDriver, spec: SandboxSpec, image: Image
) -> None:
    root = image()
    before = fingerprint(root)
    async with open_session(driver, replace(spec, root=root)) as session:
        assert dict(
            line.rsplit(" ", 1) for line in (await python(session, root, ATTEMPTS)).splitlines()
        ) == {
            "read secret": "EACCES",
            "write root's": "EACCES",
            "truncate root's": "EACCES",
            "mode of root's": "EPERM",
            "take root's": "EPERM",
            "into root's folder": "EACCES",
            "out of root's folder": "EACCES",
            "give away": "EPERM",
            "read staff's": "done",
            "link to secret": "EPERM",
            "device": "EPERM",
            "overlay's mark": "EPERM",
            "overlay's way": "EPERM",
            "whiteout": "EPERM",
        }
    assert fingerprint(root) == before


CHANGES = """
import os, shutil
open("mine.txt", "a").write("more\\n")
open("new.txt", "w").write("new\\n")
os.link("mine.txt", "second-name")
os.unlink("roots.txt")  # the folder is its own, so the name is
os.rename("mine", "renamed")
os.rename("staff.txt", "renamed/staff.txt")
shutil.rmtree("renamed/deep")
os.mkdir("renamed/deep")
os.symlink("new.txt", "link")
os.chmod("mine.txt", 0o600)
assert open("second-name").read() == "mine\\nmore\\n"
assert os.stat("second-name").st_ino == os.stat("mine.txt").st_ino
print(sorted(os.listdir()), os.listdir("renamed/deep"), sorted(os.listdir("renamed")))
"""
LOOK = "import os; print(sorted(os.listdir()), open('mine.txt').read())"


async def test_what_is_changed_in_a_working_folder_is_seen_there_and_nowhere_else(
    driver: LocalDriver, spec: SandboxSpec, image: Image
) -> None:
    root = image()
    before = fingerprint(root)
    theirs = replace(spec, root=root)
    async with open_session(driver, theirs) as one, open_session(driver, theirs) as other:
        unchanged = await python(other, root, LOOK)
        assert await python(one, root, CHANGES) == (
            "['link', 'mine.txt', 'new.txt', 'renamed', 'roots', 'second-name', 'secret.txt',"
            " 'setuid'] [] ['deep', 'staff.txt']"
        )
        assert await python(other, root, LOOK) == unchanged
        async with open_session(driver, theirs) as third:
            assert await python(third, root, LOOK) == unchanged
    assert fingerprint(root) == before


async def test_files_go_in_and_out_as_the_images_user(
    lean: LocalDriver, spec: SandboxSpec, image: Image
) -> None:
    root = image()
    async with open_session(lean, replace(spec, root=root)) as session:
        await write_file(session.agent, root.working_folder, "put.txt", b"put")
        found = {entry.name: entry for entry in await list_files(session.agent, "/srv/app")}
        assert (found["put.txt"].uid, found["put.txt"].gid) == (APP, STAFF)
        assert await read_file(session.agent, "/srv/app", "roots.txt", most=100) == b"root's\n"
        with pytest.raises(Exception, match="secret") as error:
            await read_file(session.agent, "/srv/app", "secret.txt", most=100)
        assert getattr(error.value, "reason", "") == "EACCES"


async def test_set_user_id_bits_of_an_image_are_dead(
    lean: LocalDriver, spec: SandboxSpec, image: Image
) -> None:
    root = image()
    async with open_session(lean, replace(spec, root=root)) as session:
        done = await session.run(
            Command(argv=("/srv/app/setuid", "-u"), uid=APP, working_directory="/")
        )
        assert done.stdout == b"1000\n"
        await python(session, root, "import os; os.chmod('mine.txt', 0o4755)")  # copied up
        with pytest.raises(AssertionError, match="Read-only"):
            await python(
                session, root, "import os; os.chmod('/usr/bin/id', 0o4755)", privileged=True
            )


async def test_limits_of_bytes_and_inodes_hold_for_an_images_working_folder(
    driver: LocalDriver, spec: SandboxSpec, image: Image
) -> None:
    root = image()
    (root.path / "srv/app/large").write_bytes(bytes(8 * MIB))
    os.chown(root.path / "srv/app/large", APP, STAFF)
    tight = replace(spec, root=root, limits=TIGHT)
    async with open_session(driver, tight) as session:
        # To change one byte of a file copies all of it, which is more than there may be.
        assert "No space left" in await python(
            session, root,
            "try: open('large', 'r+b').write(b'x')\nexcept OSError as error: print(error)",
        )  # fmt: skip
        assert await python(
            session, root,
            "import os\nn = 0\ntry:\n  while True: open(f'f{n}', 'w').close(); n += 1\n"
            "except OSError as error: print(n, error.strerror)",
        ) == "60 No space left on device"  # fmt: skip
        await python(session, root, "import os\nfor n in range(50): os.unlink(f'f{n}')")
    async with open_session(driver, tight) as session:
        assert "No space left" in await python(
            session, root,
            "try: open('big', 'wb').write(bytes(5 << 20))\nexcept OSError as error: print(error)",
        )  # fmt: skip


async def test_what_is_copied_up_counts_as_memory_of_the_sandbox(
    lean: LocalDriver, spec: SandboxSpec, image: Image
) -> None:
    root = image()
    (root.path / "srv/app/large").write_bytes(os.urandom(24 * MIB))
    os.chown(root.path / "srv/app/large", APP, STAFF)
    limits = SandboxLimits(memory_bytes=64 * MIB, disk_bytes=32 * MIB)
    async with open_session(lean, replace(spec, root=root, limits=limits)) as session:
        before = await lean.examine(session.sandbox.id)
        await python(session, root, "open('large', 'r+b').write(b'x')")
        after = await lean.examine(session.sandbox.id)
        assert before is not None
        assert after is not None
        assert (after.memory_bytes or 0) - (before.memory_bytes or 0) >= 23 * MIB
        done = await session.run(
            Command(argv=(PYTHON, "-I", "-S", "-c", "bytearray(50 << 20)"), uid=APP)
        )
        assert done.outcome.kind is not OutcomeKind.EXITED or done.outcome.code != 0


@pytest.mark.parametrize(
    ("folder", "target"),
    [
        ("/new", "/new"),
        ("/srv/new/deeper", "/srv/new/deeper"),
        ("/srv/empty", "/srv/empty"),
        ("/tmp/app", "/tmp/app"),
        ("/link", "/srv/app"),
        ("/link/mine", "/srv/app/mine"),
        ("//srv//app/.", "/srv/app"),
        ("/odd, name:with\\all", "/odd, name:with\\all"),
        ("/workspace", "/workspace"),
        ("/tmp", "/tmp"),
    ],
)
async def test_working_folders_of_all_kinds_can_be_written(
    lean: LocalDriver, spec: SandboxSpec, image: Image, folder: str, target: str
) -> None:
    root = image(working_folder=folder)
    (root.path / "srv/empty").mkdir()
    (root.path / "link").symlink_to("/srv/app")
    (root.path / "odd, name:with\\all").mkdir()
    (root.path / "odd, name:with\\all" / "kept").write_text("kept")
    before = fingerprint(root)
    async with open_session(lean, replace(spec, root=root)) as session:
        program = "import os; open('new', 'w').write('new'); print(os.getcwd())"
        assert await python(session, root, program) == target
        mounts = await python(session, root, "print(open('/proc/self/mounts').read())")
    has_content = "app" in target.split("/")[1:3] or "odd" in target
    is_overlay = any(
        line.split()[1].replace("\\040", " ").replace("\\134", "\\") == target
        and line.split()[2] == "overlay"
        for line in mounts.splitlines()
    )
    assert is_overlay == (has_content and not target.startswith("/tmp"))
    assert fingerprint(root) == before


@pytest.mark.parametrize(
    "folder",
    ["/", "/usr", "/etc", "/usr/lib/python3", "/proc/self", "/dev/shm", "/.assay/control", "/bin",
     "/to-etc", "/nowhere", "/file", "/file/x", "relative", "/a/../etc", "/a\0b", "/loop"],
)  # fmt: skip
async def test_a_working_folder_that_others_rely_on_is_refused(
    lean: LocalDriver, spec: SandboxSpec, image: Image, folder: str
) -> None:
    root = image(working_folder=folder)
    (root.path / "to-etc").symlink_to("../../etc")
    (root.path / "nowhere").symlink_to("/not/there")
    (root.path / "loop").symlink_to("/loop")
    (root.path / "file").write_text("")
    with pytest.raises(RuntimeFailed, match="working folder"):
        await lean.create(replace(spec, root=root))
    assert list(await lean.list()) == []


def test_links_of_an_image_lead_nowhere_on_the_host(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "up").symlink_to("../../../../../../tmp")
    (tmp_path / "absolute").symlink_to("/root")
    assert find(tmp_path, "/up").target == "/tmp"
    assert find(tmp_path, "/up").empty
    assert find(tmp_path, "/absolute/x").target == "/root/x"
    (tmp_path / "home").symlink_to("/elsewhere")
    with pytest.raises(RuntimeFailed, match="nowhere"):
        find(tmp_path, "/home")


def test_a_link_is_followed_whatever_is_renamed_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "up").symlink_to("../../a/../a/b")
    (tmp_path / "x").mkdir()
    over = threading.Event()

    def rename() -> None:
        while not over.is_set():
            (tmp_path / "x").rename(tmp_path / "y")
            (tmp_path / "y").rename(tmp_path / "x")

    busy = threading.Thread(target=rename)
    busy.start()
    try:
        for _ in range(5000):
            os.close(open_folder_in(tmp_path, "up"))
    finally:
        over.set()
        busy.join()


async def test_a_sandbox_says_on_disk_of_which_image_it_is(
    lean: LocalDriver, spec: SandboxSpec, image: Image
) -> None:
    async with open_session(lean, replace(spec, root=image(digest="sha256:ab"))) as session:
        assert SandboxFolder(Path(session.sandbox.facts["folder"])).image() == "sha256:ab"


async def test_namespaces_of_users_are_made_in_many_threads_and_leave_nothing() -> None:
    def descriptors() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    def make() -> str:
        made = user_namespace(1_500_000_000, 65536)
        try:
            return str(Path(f"/proc/self/fd/{made}").readlink())
        finally:
            os.close(made)

    def children() -> set[str]:
        return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())

    before, ours = descriptors(), children()
    found = await asyncio.gather(*(asyncio.to_thread(make) for _ in range(100)))
    assert all(name.startswith("user:[") for name in found)
    assert descriptors() == before
    assert children() <= ours


async def test_accounts_without_end_put_no_sandbox_off(
    driver: LocalDriver, spec: SandboxSpec, image: Image
) -> None:
    """A runtime that searches them reads until there is no memory; no group may hold it."""
    root = image()
    root = replace(root, mounts=tuple(each for each in root.mounts if each.target != "/etc"))
    (root.path / "etc/passwd").symlink_to("/dev/zero")
    try:
        async with open_session(driver, replace(spec, root=root)) as session:
            said = await python(session, root, "print(1)")
    except RuntimeFailed as refused:
        said = refused.detail
    assert said == "1" or ("token too long" in said and driver.name == "runc")
