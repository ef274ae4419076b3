import pytest
import styles


def test_all():
    assert all(map(styles.is_even, [2, 4]))


def test_with():
    with styles.opened(4) as found:
        if found != 5:
            pytest.fail("it is something else")


def test_callback():
    def check(found):
        assert found in (6, 8)

    styles.each([3, 4], check)
