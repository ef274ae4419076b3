"""Whether a root file system has an environment's tools, looked at as a sandbox would."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from assay.domain.errors import EnvironmentUnusable
from assay.driver.port import Mount, RootFilesystem
from assay.environments import Tool, bundled_folder, load, missing_tools, require_tools
from assay.environments.tools import locate


@pytest.fixture
def root(tmp_path: Path) -> RootFilesystem:
    """A root with /bin -> usr/bin and /etc of its own, and /usr and /usr/local mounted."""
    skeleton, usr, empty = tmp_path / "root", tmp_path / "machine/usr", tmp_path / "empty"
    for folder in (skeleton / "etc/alternatives", skeleton / "usr", usr / "bin", empty):
        folder.mkdir(parents=True)
    (usr / "local/bin").mkdir(parents=True)
    (usr / "local/bin/moon").touch()
    (skeleton / "bin").symlink_to("usr/bin")
    (usr / "bin/lua5.4").touch()
    mounts = (Mount(source=usr, target="/usr"), Mount(source=empty, target="/usr/local"))
    return RootFilesystem(digest="d", path=skeleton, mounts=mounts)


def usr(root: RootFilesystem) -> Path:
    return root.mounts[0].source


def test_a_file_is_found_through_links_and_mounts(root: RootFilesystem) -> None:
    (usr(root) / "bin/lua").symlink_to("/etc/alternatives/lua")
    (root.path / "etc/alternatives/lua").symlink_to("../../bin/./lua5.4")
    for path in ("/usr/bin/lua5.4", "/bin/lua5.4", "/bin/lua", "/usr/../bin/lua"):
        assert locate(path, root) == usr(root) / "bin/lua5.4"


def test_what_the_machine_has_but_the_sandbox_has_not_is_not_found(root: RootFilesystem) -> None:
    (usr(root) / "bin/passwords").symlink_to("/etc/passwd")
    (usr(root) / "bin/above").symlink_to("../../../../../../../../../../etc/passwd")
    for path in ("/usr/bin/passwords", "/usr/bin/above", "/etc/passwd", "/usr/local/bin/moon"):
        assert locate(path, root) is None


def test_links_in_a_circle_are_not_found(root: RootFilesystem) -> None:
    (usr(root) / "bin/a").symlink_to("b")
    (usr(root) / "bin/b").symlink_to("a")
    assert locate("/usr/bin/a", root) is None


def test_a_file_is_no_folder(root: RootFilesystem) -> None:
    assert locate("/usr/bin/lua5.4/x", root) is None


def test_missing_tools_come_with_the_command_that_installs_them(root: RootFilesystem) -> None:
    python = load(bundled_folder() / "python")
    there = Tool(path="/bin/lua5.4", package="lua5.4")
    lost = Tool(path="/usr/bin/moon", package="moonscript")
    environment = replace(python, tools=(there, lost))
    (missing,) = missing_tools(environment, root)
    assert missing.tool == lost
    assert missing.remedy == "apt-get install moonscript"
    with pytest.raises(EnvironmentUnusable, match="/usr/bin/moon: apt-get install moonscript"):
        require_tools(environment, root)
    require_tools(replace(python, tools=(there,)), root)


def test_a_tool_that_learners_may_not_read_is_missing(root: RootFilesystem) -> None:
    (usr(root) / "bin/lua5.4").chmod(0o700)
    python = load(bundled_folder() / "python")
    environment = replace(python, tools=(Tool(path="/bin/lua5.4", package="lua5.4"),))
    assert missing_tools(environment, root)


def test_names_that_no_file_can_have_are_not_found(root: RootFilesystem) -> None:
    (root.path / "etc/far").symlink_to("x" * 300)
    for path in ("/etc/far", "/" + "x" * 300, "/etc/" + "x/" * 3000):
        assert locate(path, root) is None
