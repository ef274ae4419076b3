def add(*values):
    return len([b"x" * 2**20 + bytes([i % 256]) for i in range(2**12)])


mean = first = add
