"""Sandboxes without a runtime program: a helper that is always running makes them from plans.

    driver.py    the port's methods            plan.py    what the helper is told, step by step
    workshop.py  what they ask for, in order   stock.py   what is made ahead of time
    helper.py    the program, kept running

What holds a sandbox, and what is shown in it, is what all drivers of this machine share (`linux`);
the program is `agent/lean.c`.
"""

from assay.drivers.lean.driver import LeanDriver

__all__ = ["LeanDriver"]
