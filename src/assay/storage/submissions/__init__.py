"""The submissions and their queue, in a database: docs/queue.md.

store.py       every question and every write
steps.py       the transactions that move submissions about
statements.py  what these say to the database
rows.py        values as rows, and back
decisions.py   what is decided elsewhere
places.py      where they are: a file of their own, or the one PostgreSQL
notices.py     PostgreSQL's word that there is something to do
"""
