"""What the probe says is believed only when it is complete."""

import pytest

from assay.testing.case import Failure
from assay.testing.verdicts import expect_refused, read_verdicts

COMPLETE = b"blocked mount EPERM\nabsent x32-unshare\nblocked bpf SIGSYS\nend 3\n"


def test_a_complete_list_of_refusals_is_accepted() -> None:
    assert expect_refused(COMPLETE) == {
        "mount": "blocked EPERM",
        "x32-unshare": "absent",
        "bpf": "blocked SIGSYS",
    }


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"blocked mount EPERM\n",  # the probe died before its last attempt
        b"blocked mount EPERM\nend 2\n",  # an attempt was not reported
        b"Segmentation fault\nend 0\n",
        b"blocked mount EPERM\nblocked mount EPERM\nend 2\n",
    ],
)
def test_an_incomplete_list_is_a_failure(output: bytes) -> None:
    with pytest.raises(Failure):
        read_verdicts(output)


def test_what_was_allowed_is_named_with_the_way() -> None:
    output = b"through /.assay/cgroup/pids/pids.max\nALLOWED raise-limits\nALLOWED bpf (EFAULT)\n"
    with pytest.raises(Failure, match=r"raise-limits .*pids\.max.*bpf .*EFAULT"):
        expect_refused(output + b"end 2\n")


def test_exceptions_have_to_be_named() -> None:
    output = b"ALLOWED read:/etc/shadow\nend 1\n"
    assert expect_refused(output, except_for=("read:/etc/shadow",))
    with pytest.raises(Failure):
        expect_refused(output, except_for=("read:/etc/gshadow",))
