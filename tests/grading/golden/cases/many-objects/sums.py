class Number:
    pass


numbers = [Number() for _ in range(20_000)]


def add(one, other):
    return numbers


def mean(values):
    return [type("Error", (Exception,), {}) for _ in range(15_000)]


def first(values):
    errors = [type("Error", (Exception,), {}) for _ in range(5000)]
    raise errors[-1](errors)
