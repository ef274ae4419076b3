"""`assay bench profile`: where an execution's microseconds go.

ledger.py     processor time by stage, each nanosecond charged to one of them
probes.py     where the server's stages begin and end, as data; put in before it runs
served.py     the process that serves with probes in it
executions.py the executions that are looked at, one after the other
findings.py   what was found: shares of time, as values and as JSON
picture.py    one picture of it, as SVG
"""
