class Tree:
    def __init__(self, values):
        self._values = sorted(values)

    def values(self):
        return self._values

    def check(self, callback):
        callback(len(self._values))

    def close(self):
        self._values = []
