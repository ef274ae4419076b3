def add(*values):
    return len([bytes(2**20) for _ in range(2**12)])


mean = first = add
