import math

import pytest
from shapes import Vector


def test_near():
    assert abs(abs(Vector(1, 1)) - 1.41421356) < 1e-6


def test_between():
    assert -1 < Vector(1, 2) * Vector(3, 4) - 11 < 1


def test_approximately():
    assert Vector(1, 2) * Vector(3, 4) == pytest.approx(11)
    assert math.isclose(float(abs(Vector(3, 4))), 5.0)


def test_chain():
    middle = sum([Vector(1, 2), -Vector(3, 4), Vector(2, 2) * 3]) / 2
    assert (middle.x, middle.y) == (2, 2)
    assert middle == Vector(2, 2)
    assert middle < Vector(3, 3) - Vector(0, 0)
    assert middle
