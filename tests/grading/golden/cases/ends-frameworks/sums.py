def add(one, other):
    raise KeyboardInterrupt


def mean(values):
    raise GeneratorExit


def first(values):
    raise BaseException
