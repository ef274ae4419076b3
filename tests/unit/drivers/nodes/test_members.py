"""Where nodes are, what they can do, and what is known of where sandboxes are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from assay.domain.errors import InvalidInput, Unavailable
from assay.driver.port import Capabilities
from assay.drivers.nodes.abilities import USUAL, common, heard, lacking, told
from assay.drivers.nodes.addresses import Address, Sources, parse
from assay.drivers.nodes.places import Places


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("node1", "node1", 7300),
        ("10.0.0.2:7301", "10.0.0.2", 7301),
        ("[fd00::2]", "fd00::2", 7300),
        ("[fd00::2]:99", "fd00::2", 99),
    ],
)
def test_an_address_is_a_host_and_perhaps_a_port(text: str, host: str, port: int) -> None:
    assert parse(text) == Address(host=host, port=port, name=host)
    assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize(
    "text", ["", "node1:", "node1:0", "node1:65536", "a b", "-x", "fd00::2", "@"]
)
def test_what_is_no_address_is_said_so(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no node's address; write one such as"):
        parse(text)


async def test_nodes_are_those_of_all_sources_once(tmp_path: Path) -> None:
    file = tmp_path / "nodes"
    file.write_text("# ours\nnode1\n\nnode2:7301  # in the cellar\n")
    found = await Sources(addresses=("node1:7300", "node3"), file=file).find()
    assert sorted(map(str, found)) == ["node1:7300", "node2:7301", "node3:7300"]


async def test_a_list_that_cannot_be_read_says_nothing_of_the_nodes(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="can't be read"):
        await Sources(file=tmp_path / "gone").find()


async def test_addresses_of_a_name_are_nodes_with_its_certificate() -> None:
    found = await Sources(dns="localhost:7301").find()
    assert found
    assert all(each.name == "localhost" and each.port == 7301 for each in found)


def test_abilities_arrive_as_they_were_told_but_for_what_the_way_decides() -> None:
    able = Capabilities(devices=True, oom_facts=False, kernel_memory_bytes=7)
    assert heard(told(able)) == replace(able, images_in_place=False)


def test_what_is_not_said_is_not_there_and_nonsense_is_none() -> None:
    said = told(Capabilities())
    del said["oom_facts"]
    found = heard({**said, "teleports": True})
    assert found is not None
    assert not found.oom_facts
    assert heard({}) is None
    assert heard({**said, "devices": 1}) is None
    assert heard({**said, "kernel_memory_bytes": -1}) is None


def test_what_all_can_do_is_promised() -> None:
    one, other = replace(USUAL, devices=True), replace(USUAL, devices=False, oom_facts=False)
    assert common([one, other]) == other
    assert common([]) == USUAL
    assert lacking(other, one) == ["oom_facts", "devices"]
    assert lacking(one, other) == []
    assert lacking(replace(one, own_kernel=True), one) == ["own_kernel"]


def test_a_list_says_nothing_of_what_was_made_while_it_was_asked_for() -> None:
    places = Places()
    for each in ("old", "gone"):
        places.put(each, "a")
    before = frozenset(places.of("a"))
    places.put("young", "a")
    places.listed("a", before, ["old", "found"])
    assert set(places.of("a")) == {"old", "young", "found"}
    assert places.node_of("gone") is None


def test_a_node_cannot_claim_what_is_on_another() -> None:
    places = Places()
    assert places.put("x", "a")
    assert not places.put("x", "b")
    places.listed("b", (), ["x"])
    assert places.node_of("x") == "a"
    places.forget("a")
    assert places.node_of("x") is None
