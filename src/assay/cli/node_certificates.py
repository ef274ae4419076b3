"""Certificates for nodes and their servers, by the program openssl."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from assay.cli.whole_file import written
from assay.domain.errors import InvalidInput, RuntimeFailed, RuntimeMissing

_AUTHORITY: Final = "authority"
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_YEARS_OF_AN_AUTHORITY: Final = 10


def make(
    folder: Path, *, nodes: Sequence[str], servers: Sequence[str], days: int
) -> Iterator[Path]:
    """Make a folder of certificates for each, and give it once it is whole.

    Raises InvalidInput for what is no name, or is there already, and where the folder can't be
    written; RuntimeMissing without openssl.
    """
    with written(folder):
        _check(folder, (*nodes, *servers))
        authority = folder / _AUTHORITY
        if not (authority / "ca.pem").exists():
            _make_authority(authority)
            yield authority
        for name in nodes:
            kind = "IP" if _is_address(name) else "DNS"
            yield _sign(authority, folder / name, name, days, "serverAuth", f"{kind}:{name}")
        for name in servers:
            yield _sign(authority, folder / name, name, days, "clientAuth", "")


def _check(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        if not (_NAME.fullmatch(name) or _is_address(name)) or name == _AUTHORITY:
            raise InvalidInput(
                f"{name!r} is no name or address: letters, digits, '.', '-' and '_', 64 at most"
            )
        if (folder / name).exists():
            raise InvalidInput(f"{folder / name} is there already: move it away, or take another")
    if len(set(names)) < len(names):
        raise InvalidInput("each node and each server needs a name of its own")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _make_authority(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _openssl(
        "req", "-x509", *_NEW_KEY, "-sha256", "-days", str(366 * _YEARS_OF_AN_AUTHORITY),
        "-subj", "/CN=Assay nodes", "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        "-keyout", f"{folder}/ca-key.pem", "-out", f"{folder}/ca.pem",
    )  # fmt: skip


def _sign(authority: Path, folder: Path, name: str, days: int, use: str, names: str) -> Path:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".certificate-") as work:
        draft = Path(work, "draft")
        draft.mkdir(mode=0o700)
        request, extensions = Path(work, "request"), Path(work, "extensions")
        _openssl(
            "req", *_NEW_KEY, "-subj", f"/CN={name}",
            "-keyout", f"{draft}/key.pem", "-out", str(request),
        )  # fmt: skip
        extensions.write_text(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
            f"extendedKeyUsage={use}\n" + (f"subjectAltName={names}\n" if names else "")
        )
        _openssl(
            "x509", "-req", "-in", str(request), "-sha256", "-days", str(days),
            "-CA", f"{authority}/ca.pem", "-CAkey", f"{authority}/ca-key.pem",
            "-set_serial", f"0x{os.urandom(16).hex()}",
            "-extfile", str(extensions), "-out", f"{draft}/cert.pem",
        )  # fmt: skip
        shutil.copy(authority / "ca.pem", draft / "ca.pem")
        draft.rename(folder)
    return folder


def _openssl(*arguments: str) -> None:
    before = os.umask(0o077)
    try:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        raise RuntimeMissing("the program openssl is missing: apt-get install openssl") from None
    except (subprocess.SubprocessError, OSError) as error:
        said = getattr(error, "stderr", None) or b""
        raise RuntimeFailed("openssl made no certificate", detail=said.decode()[-500:]) from error
    finally:
        os.umask(before)
