import unittest

from sums import add, first, mean

SECRET = 7391


class Sums(unittest.TestCase):
    def test_add(self):
        self.assertEqual(add(7000, 391), SECRET)

    def test_mean(self):
        self.assertAlmostEqual(mean([1, 2]), 1.5)

    def test_first(self):
        with self.assertRaises(IndexError):
            first([])
