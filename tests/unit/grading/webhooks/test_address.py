"""Where messages may go, and that nothing else is ever connected to, whatever names say."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from assay.domain.errors import InvalidInput
from assay.grading.webhooks.address import checked, refusal
from assay.grading.webhooks.names import Names
from assay.grading.webhooks.post import post
from assay.grading.webhooks.retry import MOST_ATTEMPTS, Again, Never, after_failure

INSIDE = (
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "198.18.0.1", "224.0.0.1",
    "255.255.255.255", "240.0.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1",
    "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
    "2002:7f00:1::", "::127.0.0.1", "ff02::1", "2001:db8::1", "fec0::1", "4000::1",
    "::ffff:0:127.0.0.1", "nonsense",
)  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_nothing_is_sent_to_what_only_this_server_reaches(address: str) -> None:
    assert refusal(address, encrypted=True, allowed=())


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:4700::1111"])
def test_what_is_public_may_be_told_and_only_encrypted(address: str) -> None:
    assert refusal(address, encrypted=True, allowed=()) is None
    assert refusal(address, encrypted=False, allowed=())


def test_an_operator_can_allow_a_network() -> None:
    assert refusal("10.1.2.3", encrypted=False, allowed=("10.1.0.0/16",)) is None
    assert refusal("10.2.2.3", encrypted=False, allowed=("10.1.0.0/16",))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/", "https://", "https:///x", "https://user@a.example/",
        "https://a.example/#there", "http://a.example/", "https://127.0.0.1/", "https://[::1]/",
        "https://[::ffff:10.0.0.1]/", "https://a.example/\n", f"https://a.example/{'x' * 2000}",
        "https://a.example:99999/", "file:///etc/passwd", "", "https://ä.example/",
    ],
)  # fmt: skip
def test_a_url_that_makes_no_sense_is_refused_when_it_is_registered(url: str) -> None:
    with pytest.raises(InvalidInput):
        checked(url, ())


class Lying(AbstractResolver):
    """Answers each look-up with the next address."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        now = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(
                hostname=host, host=each, port=port, family=socket.AF_INET, proto=0, flags=0
            )
            for each in now
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


def nobody_came(listener: socket.socket) -> bool:
    try:
        listener.accept()
    except BlockingIOError:
        return True
    return False


async def test_a_name_that_turns_private_after_a_look_reaches_nothing(
    listener: socket.socket,
) -> None:
    port = listener.getsockname()[1]
    lying = Lying(["127.0.0.1"])
    for scheme in ("https", "http"):
        url = checked(f"{scheme}://rebound.example:{port}/", ("10.0.0.0/8",))  # its text is fine
        answer = await post(url, b"{}", {}, allowed=("10.0.0.0/8",), resolver=lying)
        assert (answer.status, "not public" in answer.error) == (None, True)
    assert nobody_came(listener)


async def test_a_name_is_looked_up_once_for_an_attempt_and_each_address_is_looked_at(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Public at the first look, private at the second: there is no second look."""
    port = listener.getsockname()[1]
    tried: list[str] = []

    async def connect(_: object, sock: socket.socket, address: tuple[str, int]) -> None:
        tried.append(address[0])
        raise ConnectionRefusedError("nothing leaves this machine in a test")

    monkeypatch.setattr(type(asyncio.get_running_loop()), "sock_connect", connect)
    lying = Lying(["93.184.215.14"], ["127.0.0.1"])
    answer = await post(f"https://rebound.example:{port}/", b"{}", {}, allowed=(), resolver=lying)
    assert (answer.status, lying.asked, tried) == (None, 1, ["93.184.215.14"])
    mixed = Lying(["127.0.0.1", "93.184.215.14", "10.0.0.1"])
    await post(f"https://rebound.example:{port}/", b"{}", {}, allowed=(), resolver=mixed)
    assert set(tried) == {"93.184.215.14"}
    assert nobody_came(listener)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "localhost"])
async def test_no_way_to_write_this_machine_reaches_it(host: str, listener: socket.socket) -> None:
    names = Names().of("algebra")
    url = f"https://{host}:{listener.getsockname()[1]}/"
    answer = await post(url, b"{}", {}, allowed=(), resolver=names)
    assert answer.status is None
    assert nobody_came(listener)


async def test_answers_without_end_are_cut_off() -> None:
    """`100 Continue` is none yet; thousands of them a second took the server's time."""
    sent = 0

    async def go_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(OSError):
            while sent < 20_000:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
                await writer.drain()
                await asyncio.sleep(0)
                sent += 1
        writer.close()

    listening = await asyncio.start_server(go_on, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    names = Names().of("algebra")
    answer = await post(
        f"http://127.0.0.1:{port}/", b"{}", {}, allowed=("127.0.0.0/8",), resolver=names
    )
    listening.close()
    await listening.wait_closed()
    assert answer.status is None
    assert sent < 20_000


def fate(**more: object) -> Again | Never:
    known = {
        "attempts": 1, "status": 500, "created_at": 0.0, "failing_since": 0.0, "spread": 0.0
    }  # fmt: skip
    return after_failure(**{**known, **more})  # type: ignore[arg-type]


def test_a_message_is_tried_for_about_a_day_and_then_the_webhook_is_switched_off() -> None:
    delays = [fate(attempts=nth) for nth in range(1, MOST_ATTEMPTS)]
    seconds = [each.after_seconds for each in delays if isinstance(each, Again)]
    assert seconds[:4] == [5.0, 15.0, 45.0, 135.0]
    assert 0.9 * 86_400 < sum(seconds) < 86_400
    assert fate(attempts=MOST_ATTEMPTS) == Never(disable="nothing has arrived for a day")
    assert fate(attempts=MOST_ATTEMPTS, failing_since=80_000.0) == Never()


def test_who_is_gone_is_left_alone_and_who_asks_for_time_gets_it() -> None:
    assert fate(status=410) == Never(disable="the receiver says that it is gone (410)")
    assert fate(retry_after=100.0) == Again(after_seconds=100.0)
    assert fate(retry_after=1e9) == Again(after_seconds=6 * 3600.0)
    assert fate(spread=1.0) == Again(after_seconds=6.25)
