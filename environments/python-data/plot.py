from pathlib import Path

import matplotlib.pyplot as plt
import numpy

x = numpy.linspace(0, 2 * numpy.pi, 200)
plt.plot(x, numpy.sin(x), label="sin")
plt.plot(x, numpy.cos(x), label="cos")
plt.legend()
plt.savefig("plot.png")

beginning = Path("plot.png").read_bytes()[:8]
print("plot.png is a picture:", beginning == b"\x89PNG\r\n\x1a\n")
