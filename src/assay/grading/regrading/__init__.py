"""Grading again what was graded: docs/regrade.md.

wish.py       what is asked for, and which submissions that means
report.py     what a campaign would change
table.py      the same for spreadsheets and people
regrades.py   campaigns: started, followed, applied, discarded
"""
