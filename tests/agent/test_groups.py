"""What the agent takes for its control groups, where it is shown a folder of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from wire import running_agent

pytestmark = pytest.mark.root


def test_what_is_no_group_is_left_alone(agent_command: list[str], tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    (groups / "a-folder").mkdir(parents=True)
    (groups / "a-file").touch()
    (groups / "to-nothing").symlink_to("nothing")
    with running_agent(agent_command, tmp_path, "--cgroup", str(groups)) as agent:
        assert agent.peer() is not None


def test_groups_that_can_not_be_opened_are_not_done_without(
    agent_command: list[str], tmp_path: Path
) -> None:
    """Programs that nothing would hold are not run."""
    groups = tmp_path / "groups"
    groups.mkdir()
    (groups / "memory").symlink_to("memory")
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(32))
    told = ["--socket", tmp_path / "socket", "--secret-file", secret, "--cgroup", groups]
    ended = subprocess.run(
        ["unshare", "--pid", "--fork", "--kill-child", *agent_command, *told],
        capture_output=True, text=True, timeout=10, check=False,
    )  # fmt: skip
    assert ended.returncode != 0
    assert "control groups" in ended.stderr
