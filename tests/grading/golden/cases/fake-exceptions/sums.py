"""Classes that are called like those that frameworks know."""
import unittest


class Skipped(BaseException):
    pass


class KeyboardInterrupt(KeyboardInterrupt):
    pass


class IndexError(Exception):
    pass


def add(one, other):
    raise Skipped("no test")


def mean(values):
    raise unittest.SkipTest("no test")


def first(values):
    raise IndexError
