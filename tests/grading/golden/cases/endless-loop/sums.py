def add(*values):
    while True:
        pass


mean = first = add
