"""Results for other programs: docs/export.md.

rows.py   submissions with what they are worth, and which of them count
csv.py    for spreadsheets
junit.py  for what reads continuous integration's reports
json.py   for programs
written.py  any of them, piece by piece
"""
