"""What the probe says about its attempts: `blocked`, `ALLOWED` or `absent`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from assay.testing.case import Failure


def read_verdicts(output: bytes) -> Mapping[str, str]:
    """Return each attempt's name and how it went ("blocked EPERM", "ALLOWED", "absent").

    Raises Failure when the list is not complete: an attempt that killed the probe, or that was
    never made, must not look like one that was refused.
    """
    lines = output.decode(errors="replace").splitlines()
    found: dict[str, str] = {}
    note = ""
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "end":
            if rest != str(len(found)):
                raise Failure(f"the probe made {rest} attempts and reported {len(found)}")
            return found
        if kind in ("through", "in"):  # by what way the next one worked
            note = f" {line}"
            continue
        if kind not in ("blocked", "ALLOWED", "absent"):
            raise Failure(f"the probe said {line[:200]!r}, which is no verdict")
        name, _, detail = rest.partition(" ")
        found[name] = f"{kind} {detail}".strip() + note
        note = ""
    raise Failure(f"the probe ended before its last attempt; it got as far as {lines[-1:]}")


_OWN_AFFAIRS: Final = frozenset(
    ("affinity-of-init", "huge-page", "nice", "oom-score", "renice-init", "sched-fifo", "sched-rr")
)
"""What a kernel of the sandbox's own may give: it is at nobody else's cost."""


def expect_refused(
    output: bytes, *, except_for: Collection[str] = (), own_kernel: bool = False
) -> Mapping[str, str]:
    """Raise Failure unless every attempt but those named was refused.

    How the host's kernel refuses is known, and another error may hide that a call would pass. A
    kernel of the sandbox's own may not know a call, and refuse it by any error.
    """
    verdicts = read_verdicts(output)
    expected = {*except_for, *(_OWN_AFFAIRS if own_kernel else ())}
    allowed = [
        f"{name} ({verdict})" if verdict != "ALLOWED" else name
        for name, verdict in verdicts.items()
        if verdict.startswith("ALLOWED")
        and name not in expected
        and not (own_kernel and verdict.startswith("ALLOWED (E"))
    ]
    if allowed:
        raise Failure(f"allowed: {', '.join(allowed)}")
    return verdicts
