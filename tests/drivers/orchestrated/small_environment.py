"""An environment of a few programs of this machine, as an image: a registry has it in a moment."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from assay.driver.port import RootFilesystem
from assay.drivers.linux.confinement import machine
from assay.drivers.linux.copy import Copy
from assay.drivers.orchestrated.registry import write_layout

NAME = "few"
_PROGRAMS = ("bash", "cat", "echo", "sleep", "true")
_FOLDERS = (".assay", "dev", "etc", "proc", "tmp", "usr/bin", "var/tmp", "workspace")
_ENVIRONMENT = """
name = "few"
title = "A few programs"
image = "oci:{layout}"
extensions = [".sh"]
hello = "hello.sh"

[[tools]]
path = "/usr/bin/bash"
package = "bash"

[run]
argv = ["/usr/bin/bash", "{{source}}", "{{args}}"]

[sandbox]
memory = "64 MiB"

[ceilings]
run = {{ wall_seconds = 300, cpu_seconds = 300, output = "64 MiB", open_files = 1024 }}
sandbox = {{ memory = "256 MiB", processes = 256, cpus = 4, disk = "512 MiB", inodes = 65536 }}

[[programs]]
file = "hello.sh"
outcome = "exited(0)"
stdout = "Hello\\n"
"""


def small_environment(folder: Path) -> Path:
    """Make it in a folder; returns what ASSAY_ENVIRONMENTS is to name."""
    root, layout = folder / "root", folder / "layout"
    for name in _FOLDERS:
        (root / name).mkdir(parents=True)
    for name in _PROGRAMS:
        _bring(root, Path(str(shutil.which(name))).resolve(), Path("/usr/bin", name))
    (root / "bin").symlink_to("usr/bin")
    layout.mkdir()
    write_layout(
        layout,
        Copy(root=RootFilesystem(digest="few", path=root), folders=(), programs=()),
        machine(),
    )
    own = folder / "environments" / NAME
    own.mkdir(parents=True)
    (own / "environment.toml").write_text(_ENVIRONMENT.format(layout=layout))
    (own / "hello.sh").write_text("echo Hello\n")
    return own.parent


def _bring(root: Path, program: Path, place: Path) -> None:
    """A program, and the libraries that it is linked with."""
    shown = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    for path in re.findall(r"(/\S+) \(0x", shown):
        (root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / path.lstrip("/"))
    shutil.copy(program, root / str(place).lstrip("/"))
