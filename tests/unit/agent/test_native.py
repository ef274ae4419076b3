"""Where the programs for sandboxes are found."""

from pathlib import Path

import pytest

from assay.agent.native import program
from assay.domain.errors import Unavailable


@pytest.mark.parametrize(
    ("machine", "folder"), [("x86_64", "x86_64"), ("AMD64", "x86_64"), ("arm64", "aarch64")]
)
def test_programs_are_found_by_machine(tmp_path: Path, machine: str, folder: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "agent").write_bytes(b"\x7fELF")
    assert program("agent", native=tmp_path, machine=machine) == tmp_path / folder / "agent"


def test_in_a_checkout_a_missing_program_comes_with_how_to_build_it(tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "Makefile").touch()
    with pytest.raises(Unavailable, match=r"make -C agent MACHINE=aarch64"):
        program("agent", native=tmp_path / "src" / "assay" / "native", machine="aarch64")


def test_elsewhere_a_missing_program_comes_with_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="install the wheel") as missing:
        program("agent", native=tmp_path / "assay" / "native", machine="aarch64")
    assert "make" not in missing.value.message


def test_a_machine_that_assay_has_no_programs_for_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"x86_64 and aarch64; this machine is riscv64"):
        program("agent", native=tmp_path, machine="riscv64")
