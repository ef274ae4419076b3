"""What Nomad is told, and what is understood of what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.domain.errors import InvalidInput, RuntimeFailed
from assay.domain.limits import MIB, SandboxLimits
from assay.driver.port import RootFilesystem, SandboxSpec, Secret
from assay.drivers.linux.container import RUN, TERMINALS, Place
from assay.drivers.linux.folder import is_id
from assay.drivers.nomad.allocation import allocation, unplaced
from assay.drivers.nomad.job import batch_of, job, job_name, member_of, new_batch
from assay.drivers.nomad.options import Options, read_options
from assay.drivers.nomad.task import Wanted

SECRET = Secret(b"s" * 32)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def wanted(sandbox_id: str, memory: int = 64 * MIB) -> Wanted:
    spec = SandboxSpec(
        root=RootFilesystem(digest="d", path=Path("/nowhere")), secret=SECRET,
        limits=SandboxLimits(memory_bytes=memory, processes=32),
    )  # fmt: skip
    return Wanted(
        sandbox_id=sandbox_id, image="registry:5000/assay/root:1", spec=spec, places=[TERMINALS]
    )


def told(options: Options | None = None, memory: int = 64 * MIB) -> dict:
    batch = new_batch()
    return job(options or Options(), "mark", batch, [wanted(member_of(batch), memory)])


def test_ids_say_to_which_batch_they_belong() -> None:
    batch = new_batch()
    ids = {member_of(batch) for _ in range(50)}
    assert len(ids) == 50
    assert all(is_id(each) and batch_of(each) == batch for each in ids)
    assert job_name("mark", batch) == f"assay-mark-{batch}"


def test_a_batch_is_one_job_with_a_group_for_each_sandbox() -> None:
    batch = new_batch()
    ids = [member_of(batch) for _ in range(3)]
    made = job(Options(), "mark", batch, map(wanted, ids))
    assert [group["Name"] for group in made["TaskGroups"]] == ids
    assert made["Type"] == "batch"


def test_nothing_is_started_anew_or_elsewhere() -> None:
    (group,) = told()["TaskGroups"]
    assert group["RestartPolicy"]["Attempts"] == 0
    assert group["ReschedulePolicy"] == {"Attempts": 0, "Unlimited": False}
    assert group["Disconnect"]["Replace"] is False


def test_a_container_has_no_rights_but_the_agents() -> None:
    config = told()["TaskGroups"][0]["Tasks"][0]["Config"]
    assert config["cap_drop"] == ["all"]
    assert sorted(config["cap_add"]) == ["chown", "dac_override", "kill", "setgid", "setuid"]
    assert config["network_mode"] == "none"
    assert config["readonly_rootfs"] is True
    assert config["security_opt"] == ["no-new-privileges"]
    assert "--filter" in config["args"]
    assert "privileged" not in config


def test_learners_are_kept_out_of_what_nomad_shows() -> None:
    args = told()["TaskGroups"][0]["Tasks"][0]["Config"]["args"]
    closed = [args[place + 1] for place, word in enumerate(args) if word == "--closed"]
    assert closed == ["/alloc", "/local", "/secrets"]


def test_the_secret_is_in_no_request() -> None:
    assert "s" * 32 not in str(told())
    assert SECRET.reveal().hex() not in str(told())


@pytest.mark.parametrize(("memory", "counted"), [(8 * MIB, 24), (512 * MIB, 32)])
def test_the_scheduler_counts_less_than_a_sandbox_may_have(memory: int, counted: int) -> None:
    task = told(memory=memory)["TaskGroups"][0]["Tasks"][0]
    assert task["Resources"]["MemoryMB"] == counted
    assert task["Config"]["memory_hard_limit"] * MIB == memory + 16 * MIB


def test_an_operator_says_where_sandboxes_may_be() -> None:
    options = Options(
        namespace="school", node_pool="sandboxes", datacenters=("a", "b"), priority=70,
        runtime="runsc", constraints={"${node.class}": "small"}, spread={"${node.datacenter}": 50},
    )  # fmt: skip
    made = told(options)
    assert (made["Namespace"], made["NodePool"], made["Datacenters"], made["Priority"]) == (
        "school", "sandboxes", ["a", "b"], 70,
    )  # fmt: skip
    (constraint,), (spread,) = made["Constraints"], made["Spreads"]
    assert constraint == {"LTarget": "${node.class}", "RTarget": "small", "Operand": "="}
    assert spread == {"Attribute": "${node.datacenter}", "Weight": 50}
    assert made["TaskGroups"][0]["Tasks"][0]["Config"]["runtime"] == "runsc"


# --- Podman -------------------------------------------------------------------------------------


def told_podman(*, oversubscribed: bool) -> dict:
    batch = new_batch()
    spec = SandboxSpec(
        root=RootFilesystem(digest="d", path=Path("/nowhere")), secret=SECRET,
        limits=SandboxLimits(memory_bytes=512 * MIB, processes=32),
    )  # fmt: skip
    folder = Place(target="/workspace", mode=0o755, user=10001, group=10001, pages=256, inodes=9)
    asked = Wanted(
        sandbox_id=member_of(batch), image="registry:5000/assay/root:1", spec=spec,
        places=[folder, RUN, TERMINALS],
    )  # fmt: skip
    options = Options(task_driver="podman")
    made = job(options, "mark", batch, [asked], oversubscribed=oversubscribed)
    return made["TaskGroups"][0]["Tasks"][0]


def test_podman_is_told_the_same_in_its_own_words() -> None:
    task = told_podman(oversubscribed=True)
    config = task["Config"]
    assert task["Driver"] == "podman"
    assert config["network_mode"] == "none"
    assert config["cap_drop"] == ["all"]
    assert config["security_opt"][0] == "no-new-privileges"
    assert "/proc/kcore" in config["security_opt"][1]
    assert config["tmpfs"][0] == "/workspace:size=1024k,mode=755,nosuid,nodev,notmpcopyup"
    assert config["tmpfs"][1].endswith(",ro")
    assert config["memory_swap"] == "528m"
    words = config["args"]
    assert words[words.index("--owner") + 1] == "10001:10001:/workspace"


@pytest.mark.parametrize(
    ("oversubscribed", "expected"),
    [(True, {"MemoryMB": 32, "MemoryMaxMB": 528}), (False, {"MemoryMB": 528})],
)
def test_podmans_limit_is_counted_whole_where_the_scheduler_gives_no_more(
    oversubscribed: bool, expected: dict
) -> None:
    assert told_podman(oversubscribed=oversubscribed)["Resources"] == {"CPU": 20, **expected}


@pytest.mark.parametrize("name", ["exec", "raw_exec", "java"])
def test_no_other_task_driver_makes_sandboxes(name: str) -> None:
    with pytest.raises(InvalidInput, match="docker or podman"):
        read_options({"task_driver": name})


def test_podman_has_its_own_runtime() -> None:
    with pytest.raises(InvalidInput, match="docker has others"):
        read_options({"task_driver": "podman", "runtime": "runsc"})


# --- options --------------------------------------------------------------------------------------


def test_options_are_read() -> None:
    found = read_options({"address": "http://a:1/ http://b:2", "spread": {"${node.class}": 10}})
    assert found.addresses == ("http://a:1", "http://b:2")
    assert found.spread == {"${node.class}": 10}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"adress": "http://a"}, "nomad.adress: there are only address, token"),
        ({"address": "a:4646"}, "no address of a Nomad"),
        ({"address": " "}, "no address of a Nomad"),
        ({"priority": "50"}, "nomad.priority: this must be like 50"),
        ({"priority": True}, "nomad.priority"),
        ({"datacenters": "dc1"}, "nomad.datacenters"),
        ({"spread": {"a": "b"}}, "nomad.spread"),
        ({"constraints": {"a": 1}}, "nomad.constraints"),
        ({"authority": "/nowhere/ca.pem"}, "there is no file /nowhere/ca.pem"),
    ],
)
def test_wrong_options_are_refused(table: dict, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_options(table)
    assert words in caught.value.message


def test_a_token_is_in_no_text() -> None:
    assert "hush" not in repr(Options(token="hush"))


# --- allocations ----------------------------------------------------------------------------------


def found(desired: str, client: str, events: object = None) -> dict:
    return {
        "ID": "1", "TaskGroup": "a", "NodeName": "n", "CreateIndex": 7,
        "DesiredStatus": desired, "ClientStatus": client,
        "TaskStates": {"sandbox": {"Events": events}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("desired", "client", "runs", "over"),
    [
        ("run", "pending", False, False),
        ("run", "running", True, False),
        ("run", "unknown", True, False),
        ("stop", "running", False, False),
        ("stop", "unknown", False, True),
        ("stop", "complete", False, True),
        ("run", "failed", False, True),
        ("stop", "lost", False, True),
    ],
)
def test_what_states_mean(desired: str, client: str, runs: bool, over: bool) -> None:
    one = allocation(found(desired, client))
    assert (one.runs, one.over) == (runs, over)


def test_a_failure_is_told_in_nomads_words() -> None:
    events = [{"DisplayMessage": "Failed to pull", "Details": {"oom_killed": "true"}}]
    one = allocation(found("run", "failed", events))
    assert one.out_of_memory
    assert isinstance(one.failure, RuntimeFailed)
    assert "Failed to pull" in one.failure.detail


def test_no_room_is_told_with_its_reason() -> None:
    metrics = {"NodesEvaluated": 2, "DimensionExhausted": {"memory": 2}}
    refused = unplaced([{"FailedTGAllocs": {"a": metrics}}, {"FailedTGAllocs": None}])
    assert list(refused) == ["a"]
    assert refused["a"].detail == "2 clients looked at; memory: 2"


@given(
    st.dictionaries(
        st.sampled_from(["ID", "TaskStates", "ClientStatus", "CreateIndex", "x"]), ANYTHING
    )
)
def test_whatever_nomad_says_is_survived(said: dict) -> None:
    allocation(said)
    unplaced([said, {"FailedTGAllocs": said}])
