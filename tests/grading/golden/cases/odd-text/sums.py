"""What is said is no whole text: half of a surrogate pair."""


def add(one, other):
    raise ValueError("\ud800")


def mean(values):
    raise ValueError("\udfff and more")


def first(values):
    return "\ud800"
