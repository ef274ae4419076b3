class Liar:
    def __sub__(self, other):
        return 0

    __rsub__ = __sub__


class Vector:
    """One that is no object, but two that are."""

    def __new__(cls, x, y):
        return Liar(), Liar()
