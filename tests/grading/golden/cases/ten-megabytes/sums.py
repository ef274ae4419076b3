def add(*values):
    return "x" * 10_000_000


mean = first = add
