"""Finds out what works on a machine, what is wrong with it, and the command that mends it.

Looking is kept apart from judging: a check is a pure function of what was read, so that any
machine can be invented to test it. None of it raises: what can't be read is "unknown".

    facts.py         what there is to know         checks/          facts -> findings
    collection.py    reads it from /proc, /sys     findings.py      ok, note, warning, failure
    programs.py      runtimes on PATH              advisories.py    known holes in them, as data
    trial.py         `true` in a sandbox           report.py        all of it, and the verdict
    environments.py  are their tools there         text.py, document.py   for people, for programs
"""
