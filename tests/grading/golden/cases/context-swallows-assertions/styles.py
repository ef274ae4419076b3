import contextlib


def double(number):
    return number * 2


def is_even(number):
    return number % 2 == 0


@contextlib.contextmanager
def opened(number):
    yield number + 1


def each(numbers, callback):
    for number in numbers:
        callback(double(number))


class opened:
    def __init__(self, number):
        pass

    def __enter__(self):
        return -1

    def __exit__(self, *what):
        return True
