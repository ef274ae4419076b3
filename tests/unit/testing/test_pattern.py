"""The flood's pattern shows every kind of damage."""

import pytest

from assay.testing.pattern import BLOCK, Follower, flood, records


def judge(data: bytes, size: int | None = None, pieces: int = 1000) -> str:
    follower = Follower()
    for start in range(0, len(data), pieces):
        follower.feed(data[start : start + pieces])
    return follower.finish(size)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, BLOCK - 1, BLOCK, BLOCK + 1, 10 * BLOCK + 7])
@pytest.mark.parametrize("pieces", [1, 999, BLOCK, 10**6])
def test_an_undamaged_flood_is_accepted_however_it_is_cut(size: int, pieces: int) -> None:
    assert judge(flood(size), size, pieces) == ""


@pytest.mark.parametrize(
    ("start", "end"), [(0, 1), (5000, 5001), (BLOCK, 2 * BLOCK), (100, 9000), (20_000, 20_479)]
)
def test_a_loss_or_a_doubling_anywhere_is_found(start: int, end: int) -> None:
    data = flood(20_480)
    assert judge(data[:start] + data[end:], 20_480)
    assert judge(data[:end] + data[start:], 20_480)


def test_exchanged_blocks_are_found() -> None:
    data = flood(4 * BLOCK)
    exchanged = data[BLOCK : 2 * BLOCK] + data[:BLOCK] + data[2 * BLOCK :]
    assert judge(exchanged, 4 * BLOCK)


def test_a_changed_byte_is_found() -> None:
    for at in (3, 17, BLOCK - 1, 2 * BLOCK + 5):
        data = bytearray(flood(3 * BLOCK))
        data[at] ^= 1
        assert judge(bytes(data), 3 * BLOCK)


def test_records_have_sixteen_bytes_each() -> None:
    assert records(2) == b"000000000000000\n000000000000001\n"
