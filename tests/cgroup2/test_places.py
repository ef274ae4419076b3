"""Sandboxes where the groups above them belong to a container, or to systemd."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

ASSAY = str(Path(sys.executable).with_name("assay"))
TOP = "/sys/fs/cgroup"
CHECK = f'"{ASSAY}" driver check crun --case limits/cpu-time >&2; echo $?; cat /proc/self/cgroup'

CONTAINER = f"""
set -e
echo "+memory +pids +cpu" > {TOP}/cgroup.subtree_control
mkdir {TOP}/box
echo $$ > {TOP}/box/cgroup.procs
exec unshare --cgroup --mount sh -c '
    umount {TOP} && mount -t cgroup2 -o nsdelegate cgroup2 {TOP} && cat {TOP}/cgroup.type
    {CHECK}'
"""
UNIT = f"""
set -e
unit={TOP}/system.slice/assay.service
mkdir -p $unit
/usr/bin/python3 -c "import os; os.setxattr('$unit', 'trusted.delegate', b'1')"
for group in {TOP} {TOP}/system.slice; do
    echo "+memory +pids +cpu" > $group/cgroup.subtree_control
done
mkdir $unit/server
echo $$ > $unit/server/cgroup.procs
{CHECK}
cat $unit/cgroup.subtree_control
ls -d {TOP}/assay || true
"""


def said(machine: ModuleType, script: str) -> list[str]:
    """The lines that a script prints there."""
    streams: dict[int, bytes] = {1: b"", 2: b""}

    def collect(stream: int, content: bytes) -> None:
        streams[stream] += content

    environment = {**os.environ, "ASSAY_STATE": "/run/assay"}
    task = machine.Task(command=["sh", "-c", script], seconds=110, environment=environment)
    assert machine.run(task, collect) == 0, streams[2].decode()
    return streams[1].decode().splitlines()


@pytest.mark.slow
@pytest.mark.root
def test_in_a_container_that_looks_like_the_top_of_the_tree(machine: ModuleType) -> None:
    kind, status, own = said(machine, CONTAINER)

    assert (kind, status) == ("domain", "0")
    assert own == "0::/server"


@pytest.mark.slow
@pytest.mark.root
def test_in_a_unit_that_systemd_has_given_away(machine: ModuleType) -> None:
    status, own, passed_on = said(machine, UNIT)

    assert status == "0"
    assert own == "0::/system.slice/assay.service/server"
    assert {"cpu", "memory", "pids"} <= set(passed_on.split())
