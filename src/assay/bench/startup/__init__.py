"""`startup`: the sources' tables. So many sandboxes at once, and the life of one with its work.

plan.py       how often what is done, and how long that takes
crowds.py     1, 10, 100 at once: until all are idle, have answered, are gone; their memory
cycles.py     create, launch, execute, stop, clean            workloads.py   what is executed
rounds.py     everybody in turn; whoever fails does not end the run
findings.py   what was measured -> figures, promises, remarks
tables.py     figures -> tables                               picture.py     tables as a picture
"""

from assay.bench.startup.plan import FULL, QUICK, Plan
from assay.bench.startup.rounds import measure

__all__ = ["FULL", "QUICK", "Plan", "measure"]
