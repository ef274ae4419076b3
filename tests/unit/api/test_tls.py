import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from assay.api.tls import Certificate
from assay.domain.errors import InvalidInput


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def write(authority: trustme.CA, folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    made = authority.issue_cert(name)
    chain, key = folder / "chain.pem", folder / "key.pem"
    made.cert_chain_pems[0].write_to_path(chain)
    made.private_key_pem.write_to_path(key)
    return chain, key


async def handshake(certificate: Certificate, client: ssl.SSLContext) -> tuple[str, bytes]:
    """Connect once; return the version of TLS and the server's certificate."""
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()
        served.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=certificate.context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client, server_hostname="localhost"
        )
        tls = writer.get_extra_info("ssl_object")
        found = tls.version(), tls.getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
        await served.wait()
    return found


@pytest.fixture
def client(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_version_3_of_tls_is_preferred_and_2_still_works(
    authority: trustme.CA, client: ssl.SSLContext, tmp_path: Path
) -> None:
    certificate = Certificate(*write(authority, tmp_path))
    assert (await handshake(certificate, client))[0] == "TLSv1.3"
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert (await handshake(certificate, client))[0] == "TLSv1.2"
    assert certificate.context.minimum_version == ssl.TLSVersion.TLSv1_2


async def test_new_connections_get_the_new_certificate(
    authority: trustme.CA, client: ssl.SSLContext, tmp_path: Path
) -> None:
    certificate = Certificate(*write(authority, tmp_path))
    _, before = await handshake(certificate, client)
    write(authority, tmp_path)
    certificate.reload()
    _, after = await handshake(certificate, client)
    assert before != after


async def test_files_that_cannot_be_used_leave_what_there_was(
    authority: trustme.CA, client: ssl.SSLContext, tmp_path: Path
) -> None:
    chain, key = write(authority, tmp_path)
    certificate = Certificate(chain, key)
    _, before = await handshake(certificate, client)
    other = tmp_path / "other"
    other.mkdir()
    _, wrong_key = write(authority, other)
    key.write_bytes(wrong_key.read_bytes())
    with pytest.raises(InvalidInput, match="no certificate with its key"):
        certificate.reload()
    key.unlink()
    with pytest.raises(InvalidInput, match="No such file"):
        certificate.reload()
    assert (await handshake(certificate, client))[1] == before


def test_a_key_with_a_password_is_refused_and_asks_nobody(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    with pytest.raises(InvalidInput):
        Certificate(key, key)
