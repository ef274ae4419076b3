"""A token's rate over several servers: each charges what the others have let in."""

from __future__ import annotations

import pytest

from assay.api.limits import MOST_DEBT_SECONDS, Buckets, Rate
from assay.cluster.view import View, look
from assay.domain.errors import RateLimited
from assay.driver.port import Secret
from assay.storage.records import Held, ServerRecord


def server(name: str, **spent: float) -> ServerRecord:
    held = {token: Held(runners=0, executions=0, spent=seconds) for token, seconds in spent.items()}
    return ServerRecord(
        id=name, address=f"http://{name}", place="p", secret=Secret(bytes(32)), heartbeat_at=10.0,
        held=held,
    )  # fmt: skip


def seen(before: View, *servers: ServerRecord) -> View:
    return look([server("me", t=9.0), *servers], me="me", now=10.0, before=before)


def test_what_others_let_in_is_counted_once_and_from_when_they_were_first_seen() -> None:
    first = seen(View(), server("a", t=5.0))
    assert first.spent_elsewhere == {}
    second = seen(first, server("a", t=5.5, u=0.25), server("b", t=7.0))
    assert second.spent_elsewhere == {"t": 0.5, "u": 0.25}
    third = seen(second, server("a", t=5.5), server("b", t=8.0))
    assert third.spent_elsewhere == {"t": 1.0}
    assert seen(third, server("a", t=0.1), server("b", t=8.0)).spent_elsewhere == {"t": 0.1}


def test_two_servers_together_let_in_what_one_would() -> None:
    now, rate = [0.0], Rate(per_second=5.0, burst=5)
    servers = [Buckets(clock=lambda: now[0]) for _ in range(2)]
    let_in = 0
    for _second in range(60):
        spent = [0.0, 0.0]
        for _request in range(20):
            for number, buckets in enumerate(servers):
                try:
                    buckets.take("t", rate)
                except RateLimited:
                    continue
                let_in += 1
                spent[number] += 1 / rate.per_second
            now[0] += 1 / 20
        servers[0].charge("t", spent[1])
        servers[1].charge("t", spent[0])
    assert 60 * 5 * 0.8 <= let_in <= 60 * 5 + 2 * (5 + 5)


def test_no_fault_elsewhere_keeps_anybody_out_for_long() -> None:
    buckets = Buckets(clock=lambda: 0.0)
    buckets.charge("t", 10.0**9)
    rate = Rate(per_second=1.0, burst=1)
    assert buckets.wait_seconds("t", rate) <= MOST_DEBT_SECONDS + 1
    with pytest.raises(RateLimited):
        buckets.take("t", rate)
