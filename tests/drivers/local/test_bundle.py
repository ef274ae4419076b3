"""What the runtime is told, where a slip would be a hole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from assay.domain.limits import MIB, SandboxLimits
from assay.drivers.linux import seccomp
from assay.drivers.linux.confinement import Bind
from assay.drivers.oci import RUNC, RUNSC
from assay.drivers.oci.bundle import Plan, configuration

PLAN = Plan(
    root=Path("/root"),
    binds=[
        Bind(source=Path("/a"), target="/b"),
        Bind(source=Path("/c"), target="/d", writable=True),
    ],
    first_user=5_000_000,
    group="/assay/x/agent",
    unclaimed_seconds=60,
)


def test_the_agent_has_five_capabilities_and_programs_inherit_none() -> None:
    process = configuration(PLAN)["process"]

    five = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"]
    assert process["capabilities"] == {"bounding": five, "permitted": five, "effective": five}
    assert process["noNewPrivileges"] is True


def test_every_namespace_is_the_sandboxs_own() -> None:
    kinds = {each["type"] for each in configuration(PLAN)["linux"]["namespaces"]}

    assert kinds == {"user", "mount", "pid", "ipc", "uts", "cgroup", "network"}


def test_no_id_of_the_host_is_mapped() -> None:
    linux = configuration(PLAN)["linux"]

    expected = [{"containerID": 0, "hostID": 5_000_000, "size": 65536}]
    assert linux["uidMappings"] == linux["gidMappings"] == expected


def test_what_is_bound_is_read_only_unless_it_says_otherwise() -> None:
    mounts = {each["destination"]: each["options"] for each in configuration(PLAN)["mounts"]}

    assert {"ro", "nosuid", "nodev"} <= set(mounts["/b"])
    assert {"rw", "nosuid", "nodev"} <= set(mounts["/d"])


def test_no_system_call_is_both_allowed_and_refused() -> None:
    for machine in ("x86_64", "aarch64"):
        rules = seccomp.profile(machine)["syscalls"]
        names = [name for rule in rules if "args" not in rule for name in rule["names"]]
        filtered = {name for rule in rules if "args" in rule for name in rule["names"]}

        assert len(names) == len(set(names))
        assert filtered.isdisjoint(names)


def test_what_is_unknown_answers_as_an_older_kernel_would() -> None:
    profile = seccomp.profile("x86_64")

    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 38)
    assert profile["architectures"] == ["SCMP_ARCH_X86_64"]


def _matches(name: str, *arguments: int) -> str:
    """What the profile answers to a call with these arguments."""
    found = set()
    for rule in seccomp.profile("x86_64")["syscalls"]:
        if name in rule["names"] and all(
            arguments[each["index"]] & each["value"] == each["valueTwo"]
            for each in rule.get("args", [])
        ):
            found.add((rule["action"], rule.get("errnoRet")))
    assert len(found) <= 1, "rules that contradict one another"
    return {"SCMP_ACT_ALLOW": "allowed", "SCMP_ACT_ERRNO": "refused"}[
        found.pop()[0] if found else "SCMP_ACT_ERRNO"
    ]


def test_every_prctl_of_the_list_is_allowed_and_no_other() -> None:
    allowed = {number for number in range(200) if _matches("prctl", number) == "allowed"}

    assert allowed == {*range(1, 57), 65, 66} - {22}
    assert _matches("prctl", 1 << 32 | 22) == "refused"
    assert _matches("prctl", 0x53564D41) == "allowed"


def test_sockets_can_have_options_and_no_filters() -> None:
    for level in (1, 1 << 32 | 1):
        for above in (0, 1 << 32):
            for option in (26, 27, 50, 51, 52):
                assert _matches("setsockopt", 3, level, above | option) == "refused"
    for level, option in ((1, 2), (1, 8), (1, 9), (1, 20), (1, 67), (6, 1), (41, 26), (0, 1)):
        assert _matches("setsockopt", 3, level, option) == "allowed"
    for level, option in ((6, 31), (263, 1), (255, 1)):  # TCP_ULP, packet sockets, raw ones
        assert _matches("setsockopt", 3, level, option) == "refused"


OF_OWN_KERNEL = replace(PLAN, own_kernel=True, processes=20, group_limits=False)


def test_a_kernel_of_its_own_limits_processes_and_the_host_all_of_it() -> None:
    told = configuration(OF_OWN_KERNEL)

    assert told["process"]["args"][-2:] == ["--processes", "20"]
    assert told["linux"]["resources"] == {}
    assert "--processes" not in configuration(PLAN)["process"]["args"]


def test_a_kernel_of_its_own_gets_a_short_filter_that_spares_its_process_1() -> None:
    profile = configuration(OF_OWN_KERNEL)["linux"]["seccomp"]

    first, *others = profile["syscalls"]
    assert {"kill", "tkill", "tgkill"} <= set(first["names"])
    assert first["args"] == [
        {"index": 0, "value": 0xFFFFFFFF, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}
    ]
    assert first["action"] == "SCMP_ACT_ERRNO"
    refused = {
        name for rule in others if rule["action"] == "SCMP_ACT_ERRNO" for name in rule["names"]
    }
    assert {"unshare", "setns", "mount", "ptrace", "bpf"} <= refused
    assert len(profile["syscalls"]) < 100 < len(seccomp.profile("x86_64")["syscalls"])


def test_a_kernel_of_its_own_has_room_beside_its_sandbox() -> None:
    limits = SandboxLimits(memory_bytes=64 * MIB, processes=10)

    assert RUNC.own_kernel is None
    assert RUNSC.own_kernel is not None
    room = RUNSC.own_kernel.room(limits)
    assert room.memory_bytes == 64 * MIB + RUNSC.capabilities.kernel_memory_bytes
    assert room.processes > 10 * 8
    assert (room.cpus, room.disk_bytes, room.inodes) == (
        limits.cpus, limits.disk_bytes, limits.inodes
    )  # fmt: skip

    many = RUNSC.own_kernel.room(SandboxLimits(memory_bytes=64 * MIB, processes=10_000))
    assert many.processes == many.memory_bytes // RUNSC.own_kernel.bytes_for_each


def test_what_a_runtime_can_do_depends_on_its_version(tmp_path: Path) -> None:
    for told, keys in (
        ("runsc version 0.0~20221219.0", False),
        ("runsc version release-20240729.0", True),
        ("runsc version of my own", True),
    ):
        program = tmp_path / "runsc"
        program.write_text(f"#!/bin/sh\necho '{told}'\n")
        program.chmod(0o755)
        able = replace(RUNSC, program=str(program)).able()
        assert able.terminal_keys is keys
        assert able.own_kernel
    assert replace(RUNSC, program=str(tmp_path / "missing")).able() == RUNSC.capabilities
