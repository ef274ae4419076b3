import numpy

kept = []
while True:
    kept.append(numpy.ones((1000, 1000)))
