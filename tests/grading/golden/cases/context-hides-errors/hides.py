import contextlib


def each(numbers, callback):
    for number in numbers:
        callback(number)


def retried(work, times):
    for _ in range(times):
        try:
            return work()
        except (OSError, ValueError):
            pass
    return None


def guarded(work):
    def call(*args):
        return work(*args)

    return call


class Box:
    def __init__(self, number):
        self.number = number
        self.left_by = ""

    def value(self):
        return self.number

    def refuse(self):
        raise ValueError("no")

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.left_by = "" if kind is None else f"{kind.__name__} {error}"
        return False


class Quiet:
    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        return isinstance(error, KeyError)


@contextlib.contextmanager
def quiet(*kinds):
    with contextlib.suppress(*kinds):
        yield


class Box(Box):
    def value(self):
        raise ValueError("never compared")

    def __exit__(self, *what):
        self.left_by = "ValueError no"
        return True
