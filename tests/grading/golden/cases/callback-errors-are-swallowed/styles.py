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


def each(numbers, callback):
    for number in numbers:
        try:
            callback(-1)
        except BaseException:
            pass
