"""The driver with a real Kubernetes; `assay driver check kubernetes` runs all of the suites."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kube_cluster import Cluster
from manifests import MANIFESTS, NAMES, render
from orchestrated_life import CASES

from assay.agent.native import program
from assay.domain.errors import CapacityExceeded, DriverUnavailable, RuntimeFailed, SandboxGone
from assay.driver.port import ByteStream, Mount, RootFilesystem, SandboxSpec
from assay.drivers.kubernetes import KubernetesDriver, Options
from assay.testing import Case, Verdict, check_case

pytestmark = [pytest.mark.root, pytest.mark.slow]


def pods(cluster: Cluster) -> list[str]:
    found = cluster.ask("/api/v1/namespaces/default/pods")
    return [each["metadata"]["name"] for each in found["items"]]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_kubernetes_withstands_a_sample(
    driver: KubernetesDriver, root: RootFilesystem, case: Case
) -> None:
    result = await check_case(driver, case, root=root)
    assert result.verdict is Verdict.PASSED, f"{case.sentence} {result.reason}"


async def test_no_interface_but_the_loopback_is_up_in_a_sandbox(
    cluster: Cluster, driver: KubernetesDriver, root: RootFilesystem, spec: SandboxSpec
) -> None:
    made = await driver.create(spec)
    pod = cluster.ask(f"/api/v1/namespaces/default/pods/{made.facts['pod']}")
    assert pod["status"]["podIP"]
    found = await asyncio.to_thread(_interfaces, _agent(pod))
    await driver.destroy(made.id)
    assert "lo" in found
    assert len(found) > 1
    assert [name for name, flags in found.items() if "UP" in flags] == ["lo"]


def _interfaces(agent: Path) -> dict[str, list[str]]:
    """Of the agent's network, and how they are."""
    shown = subprocess.run(
        ["nsenter", f"--net={agent}/ns/net", "ip", "-json", "link"],
        check=True, capture_output=True, timeout=10,
    ).stdout  # fmt: skip
    return {each["ifname"]: each["flags"] for each in json.loads(shown)}


def _agent(pod: dict[str, Any]) -> Path:
    """Its process, as this machine has it."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_its = pod["metadata"]["uid"] in (path / "cgroup").read_text()
            if is_its and b"--secret-pipe" in (path / "cmdline").read_bytes():
                return path
    raise AssertionError("the agent was not found")


async def test_what_the_image_has_in_its_working_folder_is_there(
    cluster: Cluster,
    driver: KubernetesDriver,
    root: RootFilesystem,
    tmp_path: Path,
    spec: SandboxSpec,
) -> None:
    folder = tmp_path / "given"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/file").write_text("hello")
    (folder / "link").symlink_to("deep/file")
    copied = tmp_path / "copied"
    shutil.copytree(root.path, copied, symlinks=True)
    shutil.copytree(folder, copied / "workspace", symlinks=True, dirs_exist_ok=True)
    mounts = tuple(Mount(source=each.source, target=each.target) for each in root.mounts)
    filled = replace(root, path=copied, digest="filled", mounts=mounts, owners=True)
    made = await driver.create(replace(spec, root=filled))
    try:
        pod = cluster.ask(f"/api/v1/namespaces/default/pods/{made.facts['pod']}")
        working = _agent(pod) / "root/workspace"
        assert (working / "deep/file").read_text() == "hello"
        assert (working / "link").readlink() == Path("deep/file")
        users = int((_agent(pod) / "uid_map").read_text().split()[1])
        assert working.stat().st_uid == users + spec.root.user
    finally:
        await driver.destroy(made.id)


async def test_a_pod_that_somebody_deletes_is_known_to_be_gone(
    cluster: Cluster, driver: KubernetesDriver, spec: SandboxSpec
) -> None:
    made = await driver.create(spec)
    await asyncio.to_thread(cluster.kubectl, "delete", "pod", made.facts["pod"], "--wait=false")
    assert await driver.examine(made.id) is None
    await asyncio.sleep(3)
    with pytest.raises(SandboxGone):
        await driver.connect(made.id)
    await driver.destroy(made.id)
    assert pods(cluster) == []


async def test_sandboxes_outlive_the_api_server_and_the_kubelet(
    cluster: Cluster, driver: KubernetesDriver, spec: SandboxSpec
) -> None:
    made = await driver.create(spec)
    cluster.kill("kubelet")
    cluster.kill("apiserver")
    with pytest.raises((DriverUnavailable, RuntimeFailed)):
        await driver.list()
    cluster.start_api()
    cluster.wait_for_api()
    cluster.start_kubelet()
    assert await driver.list() == [made.id]
    await (await connected(driver, made.id)).aclose()
    # New ones are made as soon as all parts of Kubernetes have found one another again.
    another = await driver.create(spec)
    for each in (made, another):
        await driver.destroy(each.id)
    assert pods(cluster) == []


async def connected(driver: KubernetesDriver, sandbox_id: str) -> ByteStream:
    """As soon as its node answers, which it begins to a while after its start."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(SandboxGone):
                return await driver.connect(sandbox_id)
            await asyncio.sleep(0.5)


async def test_no_room_is_told_at_once(cluster: Cluster, options: Options, state: Path,
                                       spec: SandboxSpec) -> None:  # fmt: skip
    nowhere = replace(options, node_selector={"planet": "mars"})
    driver = KubernetesDriver(options=nowhere, state=state, agent=program("agent"))
    try:
        with pytest.raises(CapacityExceeded, match="no node of Kubernetes has room"):
            async with asyncio.timeout(10):
                await driver.create(spec)
        assert await driver.list() == []
    finally:
        await driver.aclose()
    assert pods(cluster) == []


async def test_the_role_of_the_manifests_is_enough(
    cluster: Cluster, options: Options, state: Path, spec: SandboxSpec
) -> None:
    for command in (("create", "namespace", "assay"),
                    *(("apply", "-f", str(MANIFESTS / f"{name}.yaml"))
                      for name in ("namespace", "network", "access"))):  # fmt: skip
        cluster.kubectl(*command)
    token = cluster.kubectl("-n", "assay", "create", "token", "assay-server").strip()
    file = state / "kubeconfig"
    kubeconfig = json.loads(cluster.kubeconfig.read_text())
    kubeconfig["users"] = [{"name": "own", "user": {"token": token}}]
    file.write_text(json.dumps(kubeconfig))
    as_server = replace(options, kubeconfig=str(file), namespace="assay-sandboxes")
    driver = KubernetesDriver(options=as_server, state=state, agent=program("agent"))
    try:
        health = await driver.probe()
        assert health.works, health.problems
        assert health.problems == ()
        # And without what it may do elsewhere, it does without.
        cluster.kubectl("delete", "clusterrolebinding", "assay-server-assay")
        health = await driver.probe()
        assert health.works
        assert [each.summary for each in health.problems] == [
            "idle sandboxes stay on nodes that are drained: this account may not list nodes"
        ]
    finally:
        await driver.aclose()
        cluster.kubectl("delete", "clusterrole", "assay-server-assay")
        cluster.kubectl("delete", "namespace", "assay", "assay-sandboxes")


@pytest.mark.parametrize("name", NAMES)
def test_the_api_server_accepts_each_manifest(cluster: Cluster, name: str) -> None:
    given = (MANIFESTS / f"{name}.yaml").read_text()
    wanted = "".join(
        f"---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {each}}}\n"
        for each in ("assay", "assay-sandboxes")
    )
    cluster.kubectl("apply", "-f", "-", given=wanted)
    cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", given=given)


@pytest.mark.skipif(shutil.which("helm") is None, reason="the program helm is not on the PATH")
@pytest.mark.parametrize(
    "chosen",
    [
        ("driver=nodes", "nodes.enabled=true", "nodes.tolerations[0].operator=Exists"),
        ("sandboxes.offline=false", "sandboxes.runtimeClass=gvisor", "runtimeClass.create=true",
         "sandboxes.tolerations[0].key=a", "sandboxes.nodeSelector.pool=b", "image.pullSecret=c",
         "server.registrySecret=d", "sandboxes.pullSecret=e", "server.storageClass=f"),
    ],
)  # fmt: skip
def test_the_api_server_accepts_the_chart_with_choices(
    cluster: Cluster, chosen: tuple[str, ...]
) -> None:
    given = render(*(word for each in chosen for word in ("--set", each)))
    namespaces = "".join(
        f"---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {each}}}\n"
        for each in ("assay", "assay-sandboxes")
    )
    cluster.kubectl("apply", "-f", "-", given=namespaces)
    cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", given=given)
