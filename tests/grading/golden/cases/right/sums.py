"""Sums."""


def add(one, other):
    """Both together."""
    return one + other


def mean(values):
    """Of numbers."""
    return sum(values) / len(values)


def first(values):
    """The first one."""
    return values[0]
