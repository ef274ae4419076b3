"""What the queue decides, as functions of data: docs/queue.md.

order.py    whose submission is handed out next
retry.py    what becomes of an attempt that failed
lease.py    when a worker is given up
outlook.py  how long a submission will wait
"""
