"""A node that `kubectl drain` empties, while a server has idle sandboxes and a runner on it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kube_cluster import Cluster
from manifests import MANIFESTS

sys.path.insert(0, str(Path(__file__).parents[2] / "server"))

from going_on import client_at, counting, have_idle, whole
from server_process import ServerProcess, until
from small_environment import NAME, small_environment

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

IDLE = 3
SECONDS = 60
SANDBOXES = "assay-sandboxes"


@pytest.fixture
def account(cluster: Cluster, tmp_path: Path) -> Iterator[Path]:
    """A kubeconfig of the account that the manifests make, with all that they allow."""
    cluster.kubectl("create", "namespace", "assay")
    for name in ("namespace", "access", "disruption"):
        cluster.kubectl("apply", "-f", str(MANIFESTS / f"{name}.yaml"))
    token = cluster.kubectl("-n", "assay", "create", "token", "assay-server").strip()
    kubeconfig = json.loads(cluster.kubeconfig.read_text())
    kubeconfig["users"] = [{"name": "own", "user": {"token": token}}]
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(kubeconfig))
    yield file
    for name in ("access", "disruption"):
        cluster.kubectl("delete", "-f", str(MANIFESTS / f"{name}.yaml"))
    cluster.kubectl("delete", "namespace", "assay", SANDBOXES)


@pytest.fixture
def server(cluster: Cluster, account: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(
        state=Path(tempfile.mkdtemp(prefix="assay-server-")), driver="kubernetes",
        environments=(f"{NAME}={IDLE}",),
        variables={
            **cluster.variables, "KUBECONFIG": str(account),
            "ASSAY_KUBERNETES_NAMESPACE": SANDBOXES,
            "ASSAY_ENVIRONMENTS": str(small_environment(tmp_path)),
        },
    )  # fmt: skip
    try:
        server.start()
        yield server
        assert server.stop() == 0
    finally:
        server.end()
        shutil.rmtree(server.state)


@pytest.fixture
def second(cluster: Cluster) -> Iterator[None]:
    """Another node, as soon as the first one is full of sandboxes."""
    yield
    cluster.kubectl("uncordon", "node1")
    cluster.end_node(2)


def on_node(cluster: Cluster, name: str) -> int:
    found = cluster.ask(f"/api/v1/namespaces/{SANDBOXES}/pods?fieldSelector=spec.nodeName={name}")
    return len([each for each in found["items"] if "deletionTimestamp" not in each["metadata"]])


@contextlib.contextmanager
def draining(cluster: Cluster, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """What an operator says before a machine is switched off; it waits for whoever is there."""
    command = [
        "kubectl", f"--kubeconfig={cluster.kubeconfig}", "drain", name, "--force",
        "--delete-emptydir-data", "--timeout=200s",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as drain:
        try:
            yield drain
        finally:
            drain.kill()


async def test_idle_sandboxes_leave_a_drained_node_first_and_runners_when_they_end(
    cluster: Cluster, second: None, server: ServerProcess
) -> None:
    async def is_on(*wanted: int) -> bool:
        counts = [await asyncio.to_thread(on_node, cluster, name) for name in ("node1", "node2")]
        return counts == [*wanted]

    async def until_on(*wanted: int) -> None:
        async with asyncio.timeout(SECONDS):  # each look takes longer than `until` reckons with
            await until(lambda: is_on(*wanted), 10 * SECONDS)

    async with client_at(server.url) as client:
        await until(lambda: have_idle((client, IDLE), environment=NAME), SECONDS)
        runner = await client.create_runner(NAME, inactivity_seconds=0)
        await until_on(IDLE + 1, 0)
        await asyncio.to_thread(cluster.start_node, 2)
        collecting = asyncio.create_task((await counting(runner)).collect())
        with draining(cluster, "node1") as drain:
            await until_on(1, IDLE)
            await whole(collecting)
            assert (await client.pool())[NAME].idle == IDLE
            assert drain.poll() is None, "it has evicted a learner"
            await runner.delete()
            said, _ = await asyncio.to_thread(drain.communicate, timeout=60)
        assert drain.returncode == 0, said
        assert b"disruption budget" in said
        await until_on(0, IDLE)
