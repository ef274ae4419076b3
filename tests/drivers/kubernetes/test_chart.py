"""The chart, really installed: a server and a node in pods, and whoever uses them.

ASSAY_TEST_IMAGE names the image of deploy/Containerfile as skopeo does: docker-archive:/FILE, say.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kube_cluster import Cluster
from manifests import CHART

from assay.cli.node_certificates import make

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(400)]

IMAGE = os.environ.get("ASSAY_TEST_IMAGE", "")
NODE, SERVER = "ds/assay-node", "deploy/assay-server"
DISK = {
    "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"},
    "spec": {
        "capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/opt/disk", "type": "Directory"},
    },
}  # fmt: skip
SAMPLE = (
    "sandboxes/*", "network/loopback-alone", "memory/eating-memory", "processes/bomb-fork",
    "leakage/looking-around-as-root",
)  # fmt: skip
LONG = """
import asyncio, sys
import assay_client

async def main():
    async with assay_client.Client(sys.argv[1], token=sys.argv[2]) as client:
        runner = await client.create_runner("bash", inactivity_seconds=0)
        process = await runner.spawn(
            "/bin/bash", "-c", "echo begun; for i in $(seq 20); do sleep 1; echo $i; done",
            limits=assay_client.Limits(wall_seconds=60),
        )
        print("begun", flush=True)
        said, _, end = await process.collect()
        print(end.outcome.kind, said.split()[-1].decode(), flush=True)
        await process.aclose()
        print((await runner.run("echo", "here")).stdout, flush=True)
        await runner.delete()

asyncio.run(main())
"""


class Installed:
    """A release of the chart."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.token = secrets.token_hex(32)

    def prepare(self) -> None:
        """What the documentation says that there must be; the disk is there for who asks."""
        image = f"docker://{self.cluster.registry}/assay:test"
        push = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", IMAGE, image]
        subprocess.run(push, check=True, timeout=200)
        list(make(self.folder, nodes=["assay-node.assay.svc"], servers=["main"], days=2))
        self.cluster.kubectl("create", "namespace", "assay")
        for name, what in (("assay-token", f"--from-literal=token={self.token}"),
                           ("assay-node", f"--from-file={self.folder}/assay-node.assay.svc"),
                           ("assay-node-server", f"--from-file={self.folder}/main")):  # fmt: skip
            self.kubectl("create", "secret", "generic", name, what)
        disk = Path(f"/proc/{self.cluster.pid}/root/opt/disk")
        disk.mkdir()
        os.chown(disk, 10000, 10000)
        self.cluster.kubectl("apply", "-f", "-", given=json.dumps(DISK))

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("--namespace=assay", *arguments)

    def helm(self, *arguments: str) -> None:
        folders = {f"HELM_{kind}_HOME": str(self.folder) for kind in ("CACHE", "CONFIG", "DATA")}
        subprocess.run(
            ["helm", f"--kubeconfig={self.cluster.kubeconfig}", "--namespace=assay", *arguments],
            check=True, capture_output=True, timeout=150, env={**os.environ, **folders},
        )  # fmt: skip

    def put(self, command: str, *values: str) -> None:
        """Install or upgrade, and wait until all is ready."""
        chosen = (
            f"image.repository={self.cluster.registry}/assay", "image.tag=test", "driver=nodes",
            "nodes.enabled=true", *values,
        )  # fmt: skip
        sets = [word for each in chosen for word in ("--set", each)]
        self.helm(command, "assay", str(CHART), "--wait", "--timeout=120s", *sets)

    def inside(self, *command: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """A command in the server's pod."""
        return subprocess.run(
            ["kubectl", f"--kubeconfig={self.cluster.kubeconfig}", "--namespace=assay", "exec",
             SERVER, "--", *command], capture_output=True, text=True, timeout=seconds,
        )  # fmt: skip


@pytest.fixture(scope="module")
def installed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    if not IMAGE or shutil.which("helm") is None:
        pytest.skip("ASSAY_TEST_IMAGE names no image of deploy/Containerfile, or there is no helm")
    made = Installed(cluster, tmp_path_factory.mktemp("installed"))
    made.prepare()
    made.put("install", "server.environments={bash=2}")
    yield made
    made.cluster.kubectl("delete", "namespace", "assay", "--timeout=50s")
    made.cluster.kubectl("delete", "persistentvolume", "disk", "--timeout=20s")


def test_a_node_joins_and_passes_a_sample_of_the_suite(installed: Installed) -> None:
    assert "takes sandboxes" in installed.inside("assay", "node", "list").stdout
    cases = [word for each in SAMPLE for word in ("--case", each)]
    done = installed.inside("assay", "--state", "/tmp/check", "driver", "check", "nodes", *cases)
    assert done.returncode == 0, done.stdout[-3000:]


async def test_a_nodes_pod_is_replaced_while_its_programs_run(installed: Installed) -> None:
    pods = json.loads(installed.kubectl("get", "pods", "-o", "json"))["items"]
    (address,) = (each["status"]["podIP"] for each in pods if "server" in each["metadata"]["name"])
    kept = installed.kubectl("get", "secret", "assay-token", "-o", "jsonpath={.data.token}")
    client = await asyncio.create_subprocess_exec(
        "nsenter", f"--target={installed.cluster.pid}", "--net", sys.executable, "-c", LONG,
        f"http://{address}:7200", base64.b64decode(kept).decode(), stdout=subprocess.PIPE,
    )  # fmt: skip
    assert client.stdout is not None
    assert await client.stdout.readline() == b"begun\n"
    await asyncio.to_thread(installed.kubectl, "rollout", "restart", NODE)
    await asyncio.to_thread(installed.kubectl, "rollout", "status", NODE, "--timeout=50s")
    said, _ = await asyncio.wait_for(client.communicate(), 60)
    assert said.split() == [b"exited", b"20", b"here"]


def test_an_upgrade_and_an_end_leave_nothing(installed: Installed) -> None:
    installed.put("upgrade", "server.environments={bash=3}")
    spec = installed.kubectl("get", SERVER, "-o", "yaml")
    assert "--environment=bash=3" in spec
    installed.helm("uninstall", "assay", "--wait", "--timeout=120s")
    kinds = "all,configmaps,serviceaccounts,roles,rolebindings,persistentvolumeclaims"
    left = installed.kubectl("get", kinds, "-o", "name").split()
    assert sorted(left) == ["configmap/kube-root-ca.crt", "serviceaccount/default"]
    namespaces = installed.cluster.kubectl("get", "namespaces", "-o", "name").split()
    assert "namespace/assay-sandboxes" not in namespaces
