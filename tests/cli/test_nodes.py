"""`assay node` and what belongs to it, without a node that runs: tests/drivers/nodes has those."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest
from command_line import Assay

from assay.config import read_settings
from assay.config.node import read_node_settings
from assay.domain.errors import InvalidInput
from assay.link.certificates import for_node, for_server

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is needed")


@pytest.mark.parametrize("command", [[], ["list"], ["drain"], ["certificates"]])
def test_every_command_has_help(assay: Assay, command: list[str]) -> None:
    ended = assay("node", *command, "--help")
    assert ended.status == 0
    assert max(len(line) for line in ended.stdout.decode().splitlines()) <= 100


@needs_openssl
def test_certificates_are_made_for_machines_by_one_authority(assay: Assay, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    first = assay("node", "certificates", str(folder), "--node", "node1", "--server", "main")
    assert first.status == 0
    listed = [str(folder / name) for name in ("authority", "node1", "main")]
    assert first.stdout.decode().splitlines() == listed
    assert assay("node", "certificates", str(folder), "--node", "::1").status == 0
    for name in ("node1", "::1"):
        assert for_node(folder / name).verify_mode is ssl.CERT_REQUIRED
    assert for_server(folder / "main").check_hostname
    assert all(key.stat().st_mode & 0o077 == 0 for key in folder.glob("*/*key.pem"))
    again = assay("node", "certificates", str(folder), "--node", "node1")
    assert again.status == 2
    assert "is there already" in again.complaint


@pytest.mark.parametrize("name", ["../x", "authority", "a b", "", "x" * 65])
def test_what_is_no_machines_name_gets_no_certificate(
    assay: Assay, tmp_path: Path, name: str
) -> None:
    ended = assay("node", "certificates", str(tmp_path), "--node", name)
    assert ended.status == 2
    assert "is no name or address" in ended.complaint


def test_without_certificates_a_node_says_what_is_missing(assay: Assay, tmp_path: Path) -> None:
    ended = assay("node", "--certificates", str(tmp_path))
    assert ended.status == 113
    assert f"the certificates in {tmp_path} can't be read" in ended.complaint
    assert "assay node certificates --help" in ended.complaint


def test_without_nodes_it_is_said_where_to_name_them(assay: Assay) -> None:
    ended = assay("node", "list")
    assert ended.status == 2
    assert "ASSAY_NODES=node1,node2" in ended.complaint
    ended = assay("run", "--driver", "nodes", "true")
    assert ended.status == 113
    assert "no nodes are named" in ended.complaint


def test_a_machines_node_can_be_emptied_before_it_runs(assay: Assay) -> None:
    mark = assay.state / "node/draining"
    assert assay("node", "drain").status == 0
    assert mark.exists()
    assert assay("node", "drain", "--stop").status == 0
    assert not mark.exists()


def test_nodes_are_named_in_variables_or_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "assay.toml"
    file.write_text(
        '[nodes]\naddresses = ["node1", "node2:7301"]\nfile = "/etc/nodes"\ndns = "all:7300"\n'
        'certificates = "/etc/ours"\n[node]\nlisten = "10.0.0.1:7300"\nstock = 3\n'
    )
    found = read_settings(variables={}, configuration=file)
    assert found.nodes.addresses == ("node1", "node2:7301")
    assert (found.nodes.file, found.nodes.dns) == (Path("/etc/nodes"), "all:7300")
    assert found.nodes.certificates == Path("/etc/ours")
    named = {"ASSAY_NODES": "a, b:1", "ASSAY_NODES_CERTIFICATES": "/c"}
    over = read_settings(variables=named, configuration=file).nodes
    assert (over.addresses, over.certificates) == (("a", "b:1"), Path("/c"))
    node = read_node_settings(found, variables={"ASSAY_NODE_STOCK": "4"}, configuration=file)
    assert (str(node.listen), node.stock, node.driver) == ("10.0.0.1:7300", 4, "lean")
    assert (
        read_node_settings(found, flags={"stock": 5}, variables={}, configuration=file).stock == 5
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[nodes]\naddresses = "node1"', "nodes.addresses: this must be a list"),
        ("[nodes]\nfile = 3", "nodes.file: this must be a text"),
        ("[nodes]\nport = 3", "nodes.port: there are only addresses"),
        ("[node]\nport = 3", "node.port: there is no such key"),
        ("[node]\nstock = -1", "node.stock: this must be a whole number"),
        ('[node]\ndriver = "nodes"', "can't have the driver nodes"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_with_its_place(
    tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / "assay.toml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=words):
        read_node_settings(
            read_settings(variables={}, configuration=file), variables={}, configuration=file
        )
