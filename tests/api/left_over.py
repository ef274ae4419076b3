"""What sandboxes of a state folder could have left on the machine."""

from __future__ import annotations

from pathlib import Path


def assert_nothing_left(state: Path) -> None:
    found = [f"folder {path}" for path in state.glob("**/sandboxes/*")]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if str(state) in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if str(state).encode() in line:
            found.append(f"process {process.name}: {line!r}")
    assert not found, found
