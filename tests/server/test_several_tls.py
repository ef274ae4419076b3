"""Two servers that pass requests on by HTTPS, and what each makes of the other's certificate."""

from __future__ import annotations

import datetime
import shutil
import ssl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from going_on import client_at
from server_process import ServerProcess, free_port, until
from tests.storage.postgres import Postgres, postgres_of_tests

from assay_client.errors import AssayError

pytestmark = pytest.mark.slow

HERE = "127.0.0.1"
NOW = datetime.datetime.now(datetime.timezone.utc)  # noqa: UP017
YESTERDAY = {
    "not_before": NOW - datetime.timedelta(days=9),
    "not_after": NOW - datetime.timedelta(days=1),
}
Make = Callable[..., ServerProcess]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_of_tests() as server:
        yield server


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> Path:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return file


@pytest.fixture
def make(postgres: Postgres, trusted: Path, tmp_path: Path) -> Iterator[Make]:
    """Makes servers that are here, each with the certificate that it is given."""
    database = postgres.empty_database()
    made: list[ServerProcess] = []

    def one(certificate: trustme.LeafCert, *more: str, advertise: str = "") -> ServerProcess:
        file, port = tmp_path / f"server-{len(made)}.pem", free_port()
        certificate.private_key_and_cert_chain_pem.write_to_path(file)
        server = ServerProcess(
            state=Path(tempfile.mkdtemp(prefix="assay-server-")), driver="fake", port=port,
            scheme="https", destroys=False,
            environments=("bash=0",),  # two fakes would make sandboxes of the same ids
            arguments=(
                "--database", database, "--advertise", advertise or f"{HERE}:{port}",
                "--tls-certificate", f"{file}", "--tls-key", f"{file}", *more,
            ),
        )  # fmt: skip
        made.append(server)
        server.start()
        return server

    try:
        yield one
    finally:
        for server in made:
            server.end()
            print(server.log)
            shutil.rmtree(server.state)


def believing(file: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=file)


async def test_requests_and_streams_are_passed_on_by_https(
    make: Make, authority: trustme.CA, trusted: Path
) -> None:
    options = ("--tls-authority", f"{trusted}")
    first, second = (make(authority.issue_cert(HERE), *options) for _ in range(2))
    async with (
        client_at(first.url, ssl=believing(trusted)) as one,
        client_at(second.url, ssl=believing(trusted)) as other,
    ):
        runner = await one.create_runner("bash")
        there = other.attach_runner(runner.id)
        assert {each.id for each in await other.runners()} == {runner.id}
        await there.write({"a.txt": "by the other"})
        assert await runner.read("a.txt") == b"by the other"
        await there.delete()


@pytest.mark.parametrize("what", ["authority", "expired", "host", "the system's authorities"])
async def test_a_certificate_that_is_not_to_be_believed_gets_no_request(
    make: Make, authority: trustme.CA, trusted: Path, what: str
) -> None:
    shown = {
        "authority": lambda: trustme.CA().issue_cert(HERE),
        "expired": lambda: authority.issue_cert(HERE, **YESTERDAY),
        "host": lambda: authority.issue_cert("elsewhere.example"),
        "the system's authorities": lambda: authority.issue_cert(HERE),
    }[what]()
    options = () if what.startswith("the system") else ("--tls-authority", f"{trusted}")
    first = make(shown, *options)
    second = make(authority.issue_cert(HERE), *options)
    async with (
        client_at(first.url, ssl=False) as one,
        client_at(second.url, ssl=believing(trusted)) as other,
    ):
        runner = await one.create_runner("bash")
        there = other.attach_runner(runner.id)
        with pytest.raises(AssayError, match="shows a certificate") as refused:
            await there.write({"a.txt": "for nobody else"})
        assert refused.value.status == 503
        with pytest.raises(AssayError):
            await there.read("a.txt")
        await runner.write({"b.txt": "it works itself"})
        await runner.delete()


async def test_a_scheme_that_is_advertised_is_the_one_by_which_others_come(
    make: Make, authority: trustme.CA, trusted: Path
) -> None:
    """As where something else does TLS before the server: here nothing does, so it must fail."""
    options = ("--tls-authority", f"{trusted}")
    port = free_port()
    first = make(authority.issue_cert(HERE), *options, advertise=f"http://{HERE}:{port}")
    second = make(authority.issue_cert(HERE), *options)
    async with (
        client_at(first.url, ssl=believing(trusted)) as one,
        client_at(second.url, ssl=believing(trusted)) as other,
    ):
        runner = await one.create_runner("bash")
        with pytest.raises(AssayError, match="the server that has this runner is silent"):
            await other.attach_runner(runner.id).read("a.txt")

        async def told() -> bool:
            return f"http://{HERE}:{port}" in second.log

        await until(told)  # the operator, and no client
        await runner.delete()
