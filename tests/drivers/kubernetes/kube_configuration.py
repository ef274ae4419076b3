"""What the parts of a Kubernetes of one machine are told, as functions of data."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NODE = "10.123.0.1"
"""The machine's address, in a network of its own; all nodes are on it."""
NODES = (1, 2)
"""Those that there can be; only the first one is always there."""
_SERVICES = "10.125.0.0/24"
API, NAMES = "10.125.0.1", "10.125.0.10"
"""Services that pods know by their addresses; `kube_services.py` is both."""
DOMAIN = "cluster.local"
POD_PROCESSES = 300
"""More than a sandbox's limit, so that who is held by it can be told."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where everything of a cluster is."""

    folder: Path
    work: Path
    """Of a file system that only the cluster's own processes see."""
    api: int
    registry: int
    etcd: int
    peers: int
    group: str
    """A control group in each hierarchy, under which its pods are."""

    @property
    def certificates(self) -> Path:
        return self.folder / "certificates"

    @property
    def pause(self) -> str:
        return f"127.0.0.1:{self.registry}/pause:1"

    def pair(self, name: str) -> tuple[Path, Path]:
        """The certificate, and its key."""
        return self.certificates / f"{name}.pem", self.certificates / f"{name}.key"


@dataclass(frozen=True, kw_only=True)
class Node:
    """What is one of Kubernetes' nodes: a kubelet and a containerd of its own."""

    places: Places
    number: int

    @property
    def name(self) -> str:
        return node_name(self.number)

    @property
    def folder(self) -> Path:
        return self.places.folder / self.name

    def work(self, what: str) -> Path:
        """Right in the cluster's, where others who are root in a pod get through."""
        return self.places.work / f"{what}{self.number}"

    @property
    def group(self) -> str:
        return f"{self.places.group}/{self.name}"

    @property
    def socket(self) -> Path:
        return self.work("containerd.sock")

    @property
    def pods(self) -> str:
        """The addresses of its pods: a half of all."""
        return f"10.124.{(self.number - 1) * 128}.0/17"


def node_name(number: int) -> str:
    return f"node{number}"


def kubeconfig(places: Places, user: str, namespace: str = "default") -> str:
    """What `user` says to the API server; JSON is YAML, too."""

    def embedded(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    certificate, key = places.pair(user)
    return json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "own",
        "clusters": [{"name": "own", "cluster": {
            "server": f"https://127.0.0.1:{places.api}",
            "certificate-authority-data": embedded(places.certificates / "ca.pem"),
        }}],
        "users": [{"name": "own", "user": {
            "client-certificate-data": embedded(certificate), "client-key-data": embedded(key),
        }}],
        "contexts": [{"name": "own", "context": {
            "cluster": "own", "user": "own", "namespace": namespace,
        }}],
    })  # fmt: skip


def etcd(places: Places) -> list[str]:
    own, peers = f"http://127.0.0.1:{places.etcd}", f"http://127.0.0.1:{places.peers}"
    return [
        "etcd", f"--data-dir={places.work}/etcd", "--unsafe-no-fsync", "--log-level=error",
        f"--listen-client-urls={own}", f"--advertise-client-urls={own}",
        f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
    ]  # fmt: skip


def api_server(places: Places) -> list[str]:
    certificate, key = places.pair("apiserver")
    client, client_key = places.pair("kubelet-client")
    accounts, accounts_key = places.pair("accounts")
    return [
        "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{places.etcd}",
        f"--secure-port={places.api}", f"--advertise-address={NODE}",
        f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}",
        f"--client-ca-file={places.certificates}/ca.pem",
        f"--kubelet-certificate-authority={places.certificates}/ca.pem",
        f"--kubelet-client-certificate={client}", f"--kubelet-client-key={client_key}",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={accounts}",
        f"--service-account-signing-key-file={accounts_key}",
        f"--service-cluster-ip-range={_SERVICES}", "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction", "--allow-privileged",
    ]  # fmt: skip


def controllers(places: Places) -> list[str]:
    _, accounts_key = places.pair("accounts")
    return [
        "kube-controller-manager", f"--kubeconfig={places.folder}/admin.kubeconfig",
        f"--service-account-private-key-file={accounts_key}", "--leader-elect=false",
        f"--root-ca-file={places.certificates}/ca.pem", "--use-service-account-credentials",
        "--secure-port=0",
    ]  # fmt: skip


def scheduler(places: Places) -> list[str]:
    return [
        "kube-scheduler", f"--kubeconfig={places.folder}/admin.kubeconfig", "--leader-elect=false",
        "--secure-port=0",
    ]  # fmt: skip


def registry(places: Places) -> list[str]:
    file = places.folder / "registry.json"
    file.write_text(json.dumps({
        "version": "0.1", "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": f"{places.work}/registry"}},
        "http": {"addr": f"127.0.0.1:{places.registry}"},
    }))  # fmt: skip
    return ["docker-registry", "serve", str(file)]


def containerd(node: Node, runc: str) -> list[str]:
    network = node.folder / "network"
    network.mkdir(exist_ok=True)
    (network / "10-own.conflist").write_text(json.dumps(_network(node)))
    file = node.folder / "containerd.toml"
    file.write_text(f"""version = 2
root = "{node.work("containerd")}"
state = "{node.work("run")}"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "{node.socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{node.places.pause}"
disable_apparmor = true
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
max_concurrent_downloads = 3
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{network}"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{runc}"
SystemdCgroup = false
""")
    return ["containerd", "--config", str(file), "--log-level", "warn"]


def _network(node: Node) -> Mapping[str, Any]:
    ipam = {
        "type": "host-local", "dataDir": f"{node.work('addresses')}",
        "ranges": [[{"subnet": node.pods}]], "routes": [{"dst": "0.0.0.0/0"}],
    }  # fmt: skip
    return {
        "cniVersion": "1.0.0", "name": "own", "plugins": [{"type": "ptp", "ipam": ipam}],
    }  # fmt: skip


def kubelet(node: Node) -> list[str]:
    certificate, key = node.places.pair("kubelet")
    file = node.folder / "kubelet.json"
    file.write_text(json.dumps({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False}, "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{node.places.certificates}/ca.pem"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(certificate), "tlsPrivateKeyFile": str(key),
        "containerRuntimeEndpoint": f"unix://{node.socket}",
        "cgroupDriver": "cgroupfs", "cgroupRoot": f"/{node.group}", "failCgroupV1": False,
        "enforceNodeAllocatable": [], "failSwapOn": False, "makeIPTablesUtilChains": False,
        "podPidsLimit": POD_PROCESSES, "maxPods": 250, "resolvConf": "",
        "clusterDNS": [NAMES], "clusterDomain": DOMAIN,
        "podLogsDir": f"{node.work('logs')}", "volumePluginDir": f"{node.work('plugins')}",
        "port": 10249 + node.number, "healthzPort": 0,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%",
                         "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100, "serializeImagePulls": False,
        "registryPullQPS": 0, "eventRecordQPS": 0, "kubeAPIQPS": 200, "kubeAPIBurst": 400,
    }))  # fmt: skip
    return [
        "kubelet", f"--config={file}", f"--kubeconfig={node.places.folder}/{node.name}.kubeconfig",
        f"--root-dir={node.work('kubelet')}", f"--hostname-override={node.name}",
        f"--node-ip={NODE}",
    ]  # fmt: skip
