import unittest

from shapes import Vector


class Shapes(unittest.TestCase):
    def test_abs(self):
        self.assertAlmostEqual(abs(Vector(3, 4)), 5.0)

    def test_dot(self):
        self.assertAlmostEqual(Vector(1, 2) * Vector(3, 4), 11)

    def test_less(self):
        self.assertLess(Vector(1, 0) * Vector(1, 0), 2)

    def test_parts(self):
        x, y = Vector(3, 4)
        self.assertAlmostEqual(x, 3)
        self.assertAlmostEqual(y, 4)

    def test_together(self):
        both = Vector(1, 2) + Vector(3, 4)
        self.assertEqual((both.x, both.y), (4, 6))
        self.assertAlmostEqual(abs(both - Vector(1, 2)), 5.0)
