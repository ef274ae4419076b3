"""The submissions and their queue, in a database: docs/queue.md.

store.py       every question and every write
entrance.py    what is handed in gets its place in its line
steps.py       the other transactions that move submissions about
statements.py  what these say to the database
rows.py        values as rows, and back
situations.py  how full the queue is, and where one waits
results.py     submissions with results, page by page
decisions.py   what is decided elsewhere
measured.py    what is known only after a transaction, and kept with a later one
together.py    what comes at the same time shares a transaction
campaigns.py   what is graded again (campaign_steps.py, campaign_statements.py)
places.py      where they are: a file of their own, or the one PostgreSQL
notices.py     PostgreSQL's word that there is something to do
"""
