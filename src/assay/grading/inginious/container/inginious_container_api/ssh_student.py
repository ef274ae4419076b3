"""Logins of students, which sandboxes of Assay do not have."""

from inginious_container_api.run_student import run_student


def ssh_student(setup_script=None, memory_limit=0, hard_time_limit=0, time_limit=0,
                container=None, run_as_root=False, teardown_script=None):  # fmt: skip
    """Is refused: 251, and a fault of the task's."""
    return run_student(setup_script or "", ssh=True)
