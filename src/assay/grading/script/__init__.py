"""A grader of the teacher's own: a program in a sandbox, which asks for students' sandboxes.

rooms.py      sandboxes with folders of their own, and who gives them
kit.py        what the grading sandbox gets besides the task: commands and modules
folders.py    folders of this machine, or of a sandbox, as entries
journal.py    what a grader said, from its bytes
frames.py     what run_student and the host say to one another
spare.py      one sandbox that is made before somebody asks for it
students.py   a student's program for each run_student
grader.py     one grading: fill the sandbox, run, read the journal
"""

from assay.grading.script.grader import Ended, Script, run_script
from assay.grading.script.journal import Said, read_journal
from assay.grading.script.rooms import Room, Rooms

__all__ = ["Ended", "Room", "Rooms", "Said", "Script", "read_journal", "run_script"]
