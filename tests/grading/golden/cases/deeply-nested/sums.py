def add(*values):
    deep = []
    for _ in range(100_000):
        deep = [deep]
    return deep


mean = first = add
