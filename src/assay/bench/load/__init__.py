"""`assay bench load`: a server under load, and what is promised of it.

The generator is a process of its own, told what to do by jobs; what it, the server and the
sandboxes take is accounted apart.

plan.py        jobs, programs, and when what arrives: pure
connection.py  the cheapest HTTP and WebSocket that does
journey.py     one execution: asked for, followed, resumed, checked
crowd.py       the learners' runners, some leaving, others coming
work.py        open and closed loops, claims, storms, keys
afresh.py      executions with a fresh lease each
pace.py        when to begin, and what is on its way
generator.py   the process that does it
journal.py     what happened, in numbers

target.py      a server of our own with temporary state, or somebody else's
accounts.py    processor time and memory, from /proc and control groups
control.py     the generator's other end
aftermath.py   what is left in the end
report.py      promises, latencies, series, tables: as values, as JSON
mooc.py  fresh.py  ceiling.py  claims.py  storm.py     the profiles
page.py  plots.py                            a page of HTML with pictures
"""
