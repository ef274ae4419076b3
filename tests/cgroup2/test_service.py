"""The unit in deploy/ under a real systemd, on a Linux with control groups of version 2 alone."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
ASSAY = str(Path(sys.executable).with_name("assay"))
SYSTEMD = "/lib/systemd/systemd"

DROP_IN = f"""
[Service]
ExecStart=
ExecStart="{ASSAY}" serve --driver crun --environment bash=1 --allow-host-images \\
    --database sqlite:////run/assay/server.db
Environment=ASSAY_STATE=/run/assay
StandardError=append:/run/errors
Environment="PATH={os.environ["PATH"]}" PYTHONDONTWRITEBYTECODE=1
ProtectHome=no
# The machine's files are to be read only, but for /run.
StateDirectory=
ConfigurationDirectory=
"""
"""What differs here from a machine that Assay was installed on."""

SCRIPT = f"""
set -eu
units=/run/units
mkdir -p $units/assay.service.d
for name in sysinit basic network shutdown multi-user; do
    printf '[Unit]\\nDescription=%s\\n' $name > $units/$name.target
done
cp '{CHECKOUT}/deploy/assay.service' $units/
cat > $units/assay.service.d/here.conf <<'END'
{DROP_IN}END
env -i "PATH=$PATH" container=other SYSTEMD_UNIT_PATH=$units \\
    unshare --pid --fork --mount --mount-proc --kill-child \\
    {SYSTEMD} --system --unit=basic.target --show-status=no >&2 &
outside=$!
until [ -S /run/systemd/private ]; do sleep 0.1; done
inside=$(cat /proc/$outside/task/$outside/children)
ctl() {{ nsenter -t $inside -m -p /usr/bin/systemctl "$@" >&2; }}
main() {{ nsenter -t $inside -m -p /usr/bin/systemctl show -p MainPID --value assay; }}
sandboxes() {{ cat $(find /sys/fs/cgroup -path '*/assay/*/agent/cgroup.procs') | sort; }}
hello() {{
    curl --silent --show-error --max-time 60 -H 'Content-Type: application/json' \\
        -d '{{"environment": "bash", "source": "echo hello"}}' http://127.0.0.1:7200/api/v1/run
    echo
}}
trap 'cat /run/errors >&2' EXIT
ctl start assay
hello
until [ -n "$(sandboxes)" ]; do sleep 0.1; done
before=$(sandboxes)
first=$(main)
nsenter -t $inside -m -p sh -c "kill -9 $first"
until [ "$(main)" != "$first" ] && ctl is-active assay; do sleep 0.2; done
echo $([ "$before" = "$(sandboxes)" ] && echo adopted)
hello
"""


@pytest.mark.slow
@pytest.mark.root
def test_the_service_starts_again_and_finds_its_sandboxes(machine: ModuleType) -> None:
    if not Path(SYSTEMD).exists():
        why = "systemd is needed: apt-get install systemd"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    streams: dict[int, bytes] = {1: b"", 2: b""}

    def collect(stream: int, content: bytes) -> None:
        streams[stream] += content

    task = machine.Task(command=["sh", "-c", SCRIPT], seconds=110)
    assert machine.run(task, collect) == 0, streams[2].decode()
    first, adopted, second = streams[1].decode().splitlines()

    assert adopted == "adopted", streams[2].decode()
    assert [json.loads(each)["stdout"] for each in (first, second)] == ["hello\n"] * 2
