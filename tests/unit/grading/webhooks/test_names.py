"""Names that nobody answers for: they cost their own course, and no other."""

import asyncio
import gc
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from aiohttp.abc import ResolveResult

from assay.grading.webhooks import names
from assay.grading.webhooks.names import LOOK_UPS, Names


class Silent:
    """A resolver of which some names hang until the end of the test, as the system's does."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        self.asked.append(host)
        if host.startswith("silent"):
            self.over.wait(30)
            raise OSError("no answer")
        return [
            ResolveResult(
                hostname=host, host="10.0.0.1", port=port, family=family, proto=0, flags=0
            )
        ]


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what threads do, in whatever time they get."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def look_ups() -> list[threading.Thread]:
    """Those that are under way."""
    return [each for each in threading.enumerate() if each.name == "assay-names"]


@pytest.fixture
def silent() -> Iterator[Silent]:
    made = Silent()
    yield made
    made.over.set()
    for thread in threading.enumerate():
        if thread.name == "assay-names":
            thread.join(5)


async def test_silent_names_of_one_course_hold_no_other_up(
    silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "SECONDS", 0.3)
    known = Names(silent)
    bad = known.of("algebra")
    asking = [asyncio.ensure_future(bad.resolve(f"silent{nth}.example", 443)) for nth in range(40)]
    await until(lambda: len(silent.asked) == LOOK_UPS)
    monkeypatch.setattr(names, "SECONDS", 20.0)  # for those who ask from now on
    (found,) = await known.of("logic").resolve("lms.example", 443)
    assert (found["host"], found["port"]) == ("10.0.0.1", 443)
    ended = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(each, TimeoutError) for each in ended)
    # Those that wait for the system still are as many as the course may have.
    assert len(silent.asked) == LOOK_UPS + 1
    monkeypatch.setattr(names, "SECONDS", 0.3)
    with pytest.raises(TimeoutError):
        await bad.resolve("lms.example", 443)
    monkeypatch.setattr(names, "SECONDS", 20.0)
    silent.over.set()
    assert len(await bad.resolve("lms.example", 443)) == 1


async def test_who_wants_the_same_name_waits_for_the_same_look_up(silent: Silent) -> None:
    known = Names(silent).of("algebra")
    asking = [asyncio.ensure_future(known.resolve("silent.example", 443)) for _ in range(30)]
    await until(lambda: bool(silent.asked))
    assert silent.asked == ["silent.example"]
    asking[0].cancel()
    silent.over.set()
    ended = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(ended[0], asyncio.CancelledError)
    assert all(isinstance(each, OSError) for each in ended[1:])


async def test_a_name_is_looked_up_anew_once_nobody_waits_for_it(silent: Silent) -> None:
    """What it was a moment ago says nothing of where it leads now."""
    known = Names(silent).of("algebra")
    for _ in range(3):
        await known.resolve("lms.example", 443)
    assert silent.asked == ["lms.example"] * 3


async def test_who_waits_for_room_and_finds_the_name_under_way_takes_none(silent: Silent) -> None:
    known = Names(silent).of("algebra")
    busy = [
        asyncio.ensure_future(known.resolve(f"silent{nth}.example", 443)) for nth in range(LOOK_UPS)
    ]
    await until(lambda: len(silent.asked) == LOOK_UPS)
    same = [asyncio.ensure_future(known.resolve("lms.example", 443)) for _ in range(5 * LOOK_UPS)]
    await asyncio.sleep(0.1)
    silent.over.set()
    await asyncio.gather(*busy, return_exceptions=True)
    await asyncio.wait_for(asyncio.gather(*same), 5)
    silent.over.clear()
    silent.asked.clear()
    again = [
        asyncio.ensure_future(known.resolve(f"silent{nth}.example", 443)) for nth in range(LOOK_UPS)
    ]
    await until(lambda: len(silent.asked) == LOOK_UPS)
    silent.over.set()
    await asyncio.gather(*again, return_exceptions=True)


async def test_a_server_that_ends_waits_for_no_look_up(silent: Silent) -> None:
    asking = asyncio.ensure_future(Names(silent).of("algebra").resolve("silent.example", 443))
    await until(lambda: bool(silent.asked))
    assert [each.daemon for each in look_ups()] == [True]
    silent.over.set()
    await asyncio.gather(asking, return_exceptions=True)


async def test_the_systems_resolver_is_asked_and_what_is_no_name_is_an_error() -> None:
    known = Names().of("algebra")
    found = await known.resolve("localhost", 80, socket.AF_INET)
    assert {each["host"] for each in found} == {"127.0.0.1"}
    with pytest.raises(OSError, match=r".+"):
        await known.resolve("a" * 70, 80)
    with pytest.raises(OSError, match=r".+"):
        await known.resolve("a\0b", 80)


async def test_where_no_thread_can_be_started_the_next_one_tries_again(
    silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More often than there is room for look-ups, so that each gives its room back."""
    known = Names(silent).of("algebra")

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        for _ in range(LOOK_UPS + 1):
            async with asyncio.timeout(1):
                with pytest.raises(OSError, match="can't start new thread"):
                    await known.resolve("lms.example", 443)
    assert len(await known.resolve("lms.example", 443)) == 1


async def test_courses_are_forgotten_that_ask_for_nothing(silent: Silent) -> None:
    known = Names(silent)
    for nth in range(100):
        await known.of(f"course-{nth}").resolve("lms.example", 443)
    await until(lambda: not look_ups())
    await asyncio.sleep(0.01)
    gc.collect()
    assert len(known) == 0
    asking = asyncio.ensure_future(known.of("algebra").resolve("silent.example", 443))
    await until(lambda: bool(silent.asked[100:]))
    gc.collect()
    assert len(known) == 1  # who waits for the system keeps its place
    silent.over.set()
    await asyncio.gather(asking, return_exceptions=True)
