"""What of the machine a sandbox with the `host` image may see, and what is made up for it.

An allow-list: whatever is not named here is not in the image. `survey` looks at names, sizes and
times only and takes a few milliseconds, so the image can be checked at every start.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path

from assay.domain.command import LEARNER_UID, WORKSPACE

HIDDEN = ("/usr/local", "/usr/etc")
"""Folders beneath /usr that hold the administrator's own things; an empty folder covers them."""

MOUNTPOINTS = (
    ".assay", "dev", "etc", "home", "media", "mnt", "opt", "proc", "root", "run", "srv", "sys",
    "tmp", "usr", "var", "var/tmp", "workspace",
)  # fmt: skip

TOP_LEVEL = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""Links into /usr on today's systems; folders, and so mounts, on those that never merged them."""

FILES = (
    "ld.so.cache",  # where shared libraries are: without it every start searches
    "ld.so.conf",
    "locale.alias",
    "localtime",
    "mime.types",
    "os-release",
    "protocols",
    "R/Renviron",  # Debian's part of R's settings; Renviron.site, the administrator's, is not here
    "R/ldpaths",
    "services",
    "ssl/openssl.cnf",
    "ssl/certs/ca-certificates.crt",  # all certificates; OpenSSL, GnuTLS and curl read this one
    "ssl/certs/java/cacerts",  # Java's copy of them
    "timezone",
)
"""Files of /etc, copied; kept as links where they are links into the image."""

FOLDERS = (
    "alternatives",  # links only: which of several packages is `cc`, `java`, `awk`
    "fonts",  # fontconfig: a Java or Python program that draws text fails without
    "java-*-openjdk",  # jvm.cfg and java.security: Debian's JDK does not start without
    "ld.so.conf.d",
)
"""Folders of /etc, with all that any user of the machine may read in them.

Python's (/etc/python3.*) are left out on purpose: all that they hold at run time is a hook that
reports crashes to the distribution, and it makes every start slower.
"""

OF_VAR = ("lib/ghc/package.conf.d",)
"""Folders of /var, just so: where Debian keeps GHC's list of its own libraries."""

MOST_BYTES = 4 * 1024 * 1024
"""Larger files are left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A file that is made up for the image."""

    path: str
    content: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """A symbolic link; what it names is looked up in the sandbox, never on the machine."""

    path: str
    target: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """A file of the machine; size and times (ns since 1970) tell when it has changed."""

    path: str
    size: int
    modified: int
    changed: int


Entry = Text | Link | Copy


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """All that the image is made of. Paths of `entries` are relative to its root."""

    entries: tuple[Entry, ...]
    mounted: tuple[str, ...]
    """Folders of the machine that are shown read-only."""
    hidden: tuple[str, ...]
    """Folders beneath them that are not."""
    packages: tuple[int, ...]
    """Size and time of the package manager's list: what is in /usr changes with it."""


def survey(machine: Path) -> Survey:
    """Say what the image of `machine`, a folder that is the root of a system, consists of."""
    entries = (
        *_made_up(machine),
        *_top_level_links(machine),
        *_of_etc(os.fspath(machine / "etc")),
        *_of_var(os.fspath(machine / "var")),
    )
    top_level_folders = (
        f"/{name}"
        for name in TOP_LEVEL
        if (machine / name).is_dir() and not (machine / name).is_symlink()
    )
    return Survey(
        entries=tuple(sorted(entries, key=lambda entry: entry.path)),
        mounted=("/usr", *top_level_folders),
        hidden=tuple(path for path in HIDDEN if (machine / path[1:]).is_dir()),
        packages=_state_of_packages(machine),
    )


def may_be_copied(facts: os.stat_result) -> bool:
    """Whether every user of the machine may read this, and it is a file of a sensible size."""
    readable = stat.S_ISREG(facts.st_mode) and bool(facts.st_mode & stat.S_IROTH)
    return readable and facts.st_size <= MOST_BYTES


def _made_up(machine: Path) -> Iterator[Entry]:
    """The accounts and names of a machine with nobody on it but a learner."""
    shell = "/bin/bash" if (machine / "usr/bin/bash").exists() else "/bin/sh"
    databases = ("passwd", "group", "shadow", "hosts", "networks", "protocols", "services")
    texts = {
        "passwd": (
            f"root:x:0:0:root:/root:{shell}\n"
            f"learner:x:{LEARNER_UID}:{LEARNER_UID}:learner:{WORKSPACE}:{shell}\n"
            "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        ),
        "group": f"root:x:0:\nlearner:x:{LEARNER_UID}:\nnogroup:x:65534:\n",
        "hostname": "sandbox\n",
        "hosts": "127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost ip6-loopback\n",
        "nsswitch.conf": "".join(f"{database}: files\n" for database in databases),
    }
    for name, text in texts.items():
        yield Text(path=f"etc/{name}", content=text.encode())
    yield Link(path="etc/mtab", target="/proc/self/mounts")
    yield Link(path="var/run", target="/run")


def _top_level_links(machine: Path) -> Iterator[Link]:
    for name in TOP_LEVEL:
        path = machine / name
        if path.is_symlink() and _leads_inside(f"/{name}", target := str(path.readlink())):
            yield Link(path=name, target=target)


def _of_etc(etc: str) -> Iterator[Entry]:
    for name in FILES:
        if _may_be_searched(posixpath.dirname(f"{etc}/{name}")):
            yield from _examine(f"{etc}/{name}", f"etc/{name}")
    for item in _list(etc):
        if _A_FOLDER.match(item.name):
            yield from _tree(item.path, f"etc/{item.name}")


def _of_var(var: str) -> Iterator[Entry]:
    for name in OF_VAR:
        yield from _tree(f"{var}/{name}", f"var/{name}")


def _tree(folder: str, path: str) -> Iterator[Entry]:
    for item in _list(folder):
        below = f"{path}/{item.name}"
        if item.is_dir(follow_symlinks=False):
            yield from _tree(item.path, below)
        # Man pages are most of the alternatives, and nobody reads them in a sandbox.
        elif not item.name.endswith(".gz"):
            yield from _examine(item.path, below)


def _list(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder, or nothing unless every user of the machine may list it."""
    if not _may_be_searched(folder):
        return []
    try:
        with os.scandir(folder) as items:
            return list(items)
    except OSError:
        return []


def _may_be_searched(folder: str) -> bool:
    try:
        mode = os.lstat(folder).st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) and mode & 0o005 == 0o005


def _examine(file: str, path: str) -> Iterator[Link | Copy]:
    """Take a file that every user may read, or a link that stays in the image, or nothing."""
    try:
        facts = os.lstat(file)
        target = str(Path(file).readlink()) if stat.S_ISLNK(facts.st_mode) else None
    except OSError:
        return
    if target is not None:
        if _leads_inside(f"/{path}", target):
            yield Link(path=path, target=target)
    elif may_be_copied(facts):
        yield Copy(
            path=path, size=facts.st_size, modified=facts.st_mtime_ns, changed=facts.st_ctime_ns
        )


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(translate(pattern) for pattern in patterns))


# In a pattern, `*` stands for slashes too.
_A_FOLDER = _any_of(FOLDERS)
_INSIDE_ETC = _any_of(
    (*(f"/etc/{name}" for name in FILES), *(f"/etc/{name}/*" for name in FOLDERS))
)


def _leads_inside(path: str, target: str) -> bool:
    """Whether the text of a link names nothing but what is in the image anyway."""
    aim = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if any(_is_beneath(aim, hidden) for hidden in HIDDEN):
        return False
    return _is_beneath(aim, "/usr") or _INSIDE_ETC.match(aim) is not None


def _is_beneath(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _state_of_packages(machine: Path) -> tuple[int, ...]:
    try:
        facts = (machine / "var/lib/dpkg/status").stat()
    except OSError:
        return ()
    return facts.st_size, facts.st_mtime_ns
