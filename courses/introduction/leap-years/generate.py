"""Print years, among them whole centuries."""

import random
import sys

chance = random.Random(f"{sys.argv[1]} {sys.argv[2]}")
years = [chance.randint(1583, 4000) for _ in range(20)]
years += [100 * chance.randint(16, 40) for _ in range(20)]
chance.shuffle(years)
print(*years)
