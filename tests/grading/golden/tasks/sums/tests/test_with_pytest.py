import pytest
from sums import add

SECRET = 7392


def test_add():
    assert add(7000, 392) == SECRET


def test_approximately():
    assert add(0.1, 0.2) == pytest.approx(0.3)
