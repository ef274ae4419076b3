import unittest

import styles


class Styles(unittest.TestCase):
    def test_map(self):
        for got, want in zip(map(styles.double, [1, 2]), [2, 4]):
            self.assertEqual(got, want)

    def test_with(self):
        with styles.opened(3) as found:
            self.assertEqual(found, 4)

    def test_callback(self):
        styles.each([1, 2], lambda found: self.assertIn(found, (2, 4)))
