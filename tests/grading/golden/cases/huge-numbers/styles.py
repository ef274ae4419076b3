HUGE = 10**200_000


def double(number):
    return HUGE + number


def is_even(number):
    raise ValueError(HUGE)


class opened:
    def __init__(self, number):
        pass

    def __enter__(self):
        return HUGE

    def __exit__(self, *what):
        return HUGE


def each(numbers, callback):
    callback(HUGE)
