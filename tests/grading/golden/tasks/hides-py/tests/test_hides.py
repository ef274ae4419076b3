import unittest
from unittest import mock

import hides


class Hides(unittest.TestCase):
    def test_value(self):
        with hides.Box(5) as box:
            self.assertEqual(box.value(), 5)

    def test_refuses(self):
        with self.assertRaises(ValueError), hides.Box(5) as box:
            self.assertEqual(box.value(), 5)
            box.refuse()
        self.assertEqual(box.left_by, "ValueError no")

    def test_less(self):
        hides.each([1, 2], lambda found: self.assertLess(found, 5))

    def test_swallows_what_is_raised_on_purpose(self):
        with hides.Quiet():
            raise KeyError("on purpose")
        with hides.quiet(KeyError, OSError):
            raise KeyError("on purpose")
        with self.assertRaises(ValueError), hides.Quiet():
            raise ValueError("not swallowed")

    def test_tries_again(self):
        work = mock.Mock(side_effect=[OSError("busy"), 7])
        self.assertEqual(hides.retried(work, 3), 7)

        def never():
            raise ValueError("on purpose")

        self.assertIsNone(hides.retried(never, 2))

    def test_lets_errors_through(self):
        with self.assertRaises(ZeroDivisionError):
            hides.guarded(lambda number: 1 / number)(0)

    def test_lets_unknown_keys_through(self):
        with self.assertRaises(KeyError):
            hides.guarded(lambda key: {}[key])("x")
