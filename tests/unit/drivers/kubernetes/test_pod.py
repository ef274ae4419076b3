"""What Kubernetes is told, and what is understood of what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.domain.errors import CapacityExceeded, ImageUnavailable, InvalidInput, RuntimeFailed
from assay.domain.limits import MIB, SandboxLimits
from assay.driver.port import RootFilesystem, SandboxSpec, Secret
from assay.drivers.kubernetes.found import Pod, pod_found
from assay.drivers.kubernetes.kind import able
from assay.drivers.kubernetes.options import Options, read_options
from assay.drivers.kubernetes.pod import Wanted, pod, pod_name, sandbox_of
from assay.drivers.linux.container import Place
from assay.drivers.linux.folder import new_id

SECRET = Secret(b"s" * 32)
PLACES = (
    Place(target="/tmp", mode=0o1777, pages=1024, inodes=1024),
    Place(target="/home/w", mode=0o755, user=7, group=8, pages=4, inodes=2, empty=False),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def told(options: Options | None = None, memory: int = 64 * MIB) -> dict[str, Any]:
    spec = SandboxSpec(
        root=RootFilesystem(digest="d", path=Path("/nowhere")), secret=SECRET,
        limits=SandboxLimits(memory_bytes=memory, processes=32, cpus=0.5),
    )  # fmt: skip
    wanted = Wanted(sandbox_id=new_id(), image="registry:5000/a/root:1", spec=spec, places=PLACES)
    return pod(options or Options(), "mark", wanted)


def container(options: Options | None = None) -> dict[str, Any]:
    (found,) = told(options)["spec"]["containers"]
    return found


def test_a_pod_is_named_by_its_sandbox() -> None:
    sandbox_id = new_id()
    assert sandbox_of(pod_name(sandbox_id)) == sandbox_id
    assert len(pod_name(sandbox_id)) <= 63
    for other in ("assay-server-7d9c", sandbox_id, "assay-", ""):
        assert sandbox_of(other) is None


def test_a_pod_is_never_started_anew_and_knows_nothing_of_the_cluster() -> None:
    spec = told()["spec"]
    assert spec["restartPolicy"] == "Never"
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["dnsPolicy"] == "None"
    assert spec["hostUsers"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName"} & spec.keys()


def test_the_sandboxs_container_has_the_agents_rights_and_no_more() -> None:
    security = container()["securityContext"]
    assert security["capabilities"] == {
        "drop": ["ALL"], "add": ["CHOWN", "DAC_OVERRIDE", "KILL", "SETGID", "SETUID"],
    }  # fmt: skip
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False


def test_the_network_is_taken_down_before_and_by_another_container() -> None:
    (first,) = told()["spec"]["initContainers"]
    assert "--offline" in first["command"]
    assert "NET_ADMIN" in first["securityContext"]["capabilities"]["add"]
    assert "NET_ADMIN" not in container()["securityContext"]["capabilities"]["add"]
    (first,) = told(Options(offline=False))["spec"]["initContainers"]
    assert "--offline" not in first["command"]
    assert "NET_ADMIN" not in first["securityContext"]["capabilities"]["add"]


def test_folders_are_given_to_whom_they_are_for_and_filled_where_the_image_has_something() -> None:
    (first,) = told()["spec"]["initContainers"]
    assert " ".join(first["command"][3:]) == (
        "--place /tmp 0 0 1777 --fill /home/w /.assay/filled --place /.assay/filled 7 8 755"
    )
    assert [each["mountPath"] for each in first["volumeMounts"]] == ["/tmp", "/.assay/filled"]
    assert [each["mountPath"] for each in container()["volumeMounts"]] == ["/tmp", "/home/w"]


def test_what_can_be_written_is_in_memory_with_a_limit() -> None:
    sizes = [each["emptyDir"] for each in told()["spec"]["volumes"]]
    assert sizes == [
        {"medium": "Memory", "sizeLimit": str(4 * MIB)}, {"medium": "Memory", "sizeLimit": "65536"},
    ]  # fmt: skip
    assert container()["terminationMessagePath"].startswith("/.assay/control/")


def test_the_scheduler_counts_less_than_the_limit() -> None:
    assert container()["resources"] == {
        "requests": {"memory": str(32 * MIB), "cpu": "10m"},
        "limits": {"memory": str(80 * MIB), "cpu": "500m"},
    }


def test_processes_are_limited_with_users_of_its_own_alone() -> None:
    assert "--processes" in container()["command"]
    assert able(Options()).process_limit
    shared = Options(user_namespaces=False)
    assert "--processes" not in container(shared)["command"]
    assert "hostUsers" not in told(shared)["spec"]
    assert not able(shared).process_limit


def test_the_operator_says_where_sandboxes_may_be() -> None:
    options = Options(
        runtime_class="gvisor", priority_class="low", node_selector={"pool": "s"}, spread="zone",
        tolerations=({"key": "s", "operator": "Exists"},), pull_secret="login",
    )  # fmt: skip
    spec = told(options)["spec"]
    assert spec["runtimeClassName"] == "gvisor"
    assert spec["priorityClassName"] == "low"
    assert spec["nodeSelector"] == {"pool": "s"}
    assert spec["tolerations"] == [{"key": "s", "operator": "Exists"}]
    assert spec["imagePullSecrets"] == [{"name": "login"}]
    assert spec["topologySpreadConstraints"][0]["topologyKey"] == "zone"


def test_the_secret_is_in_nothing_that_kubernetes_is_told() -> None:
    assert SECRET.reveal().decode() not in repr(told())


# --- what it says ---------------------------------------------------------------------------------


def said(state: dict[str, Any], **status: Any) -> Pod:
    statuses = [{"name": "sandbox", "state": state}]
    return pod_found({
        "metadata": {"name": "assay-x"}, "spec": {"hostUsers": False},
        "status": {"phase": "Running", "containerStatuses": statuses, **status},
    })  # fmt: skip


def test_a_pod_runs_when_its_sandbox_does() -> None:
    assert said({"running": {"startedAt": "now"}}).runs
    assert not said({"waiting": {"reason": "PodInitializing"}}).runs
    assert said({"waiting": {"reason": "PodInitializing"}}).failure is None


def test_one_that_ended_is_over_and_says_of_what() -> None:
    found = said({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})
    assert (found.over, found.runs, found.out_of_memory) == (True, False, True)
    found = said({}, phase="Failed", reason="Evicted", message="no memory")
    assert isinstance(found.failure, RuntimeFailed)
    assert "no memory" in found.failure.detail


def test_no_room_and_no_image_are_told_apart() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    found = said({}, phase="Pending", conditions=[{**condition, "message": "0/3 nodes"}])
    assert isinstance(found.failure, CapacityExceeded)
    assert "0/3 nodes" in found.failure.detail
    assert isinstance(said({"waiting": {"reason": "ErrImagePull"}}).failure, ImageUnavailable)
    assert isinstance(said({"waiting": {"reason": "RunContainerError"}}).failure, RuntimeFailed)


def test_the_first_containers_failure_is_the_pods() -> None:
    ended = {"terminated": {"exitCode": 1, "message": "furnish: eth0: no"}}
    found = said(
        {"waiting": {"reason": "PodInitializing"}}, phase="Failed",
        initContainerStatuses=[{"name": "furnish", "state": ended}],
    )  # fmt: skip
    assert found.failure is not None
    assert "eth0" in found.failure.detail


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["metadata", "spec", "status"]),
        st.dictionaries(
            st.sampled_from(["containerStatuses", "initContainerStatuses", "conditions", "phase"]),
            st.lists(st.dictionaries(st.sampled_from(["name", "state", "type"]), ANYTHING))
            | ANYTHING,
        )
        | ANYTHING,
    )
)
def test_whatever_kubernetes_says_is_survived(answer: dict[str, Any]) -> None:
    assert isinstance(pod_found(answer), Pod)


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("namespace", ""), ("namespace", 1), ("reserved_memory", 0), ("reserved_cpu", True),
        ("offline", "perhaps"), ("offline", 2), ("node_selector", {"a": 1}), ("tolerations", "all"),
        ("tolerations", [{"color": "red"}]), ("kubeconfig", "/nowhere/kubeconfig"), ("nonsense", 1),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_its_name(key: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match="kubernetes"):
        read_options({key: value})


def test_variables_are_texts_and_the_file_has_types() -> None:
    found = read_options({"offline": "false", "user_namespaces": False, "longest": 60})
    assert found == replace(Options(), offline=False, user_namespaces=False, longest=60)
