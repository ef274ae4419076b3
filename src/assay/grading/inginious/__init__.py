"""Tasks and courses of INGInious, versions 0.6 to 0.9, as they are: see docs/inginious.md.

documents.py  YAML that anybody wrote
tasks.py      task.yaml -> values
courses.py    course.yaml -> values
problems.py   what learners may hand in; multiple choice and matching, which need no sandbox
environments.py   names of containers -> environments of Assay
containers.py     the task's folder, its grader, the modules for its Python
judging.py    what a grader said -> a result; nothing that is unknown passes
grading.py    one submission
inputs.py     what is handed in, and what a grader is told of who did
translations.py   what a learner reads of it in another language
rules.py      when and how often
text.py, hypertext.py, tables.py   reStructuredText and HTML -> Markdown
markdown.py   its pieces, of which none becomes HTML
notes.py      what is not done, for teachers
versions.py   a task's folder and its course's as bundles
offered.py    a task as a server offers it
recorded.py   files of recorded submissions: what they had, and whether it is so again
container/    the modules and scripts that go into the grading sandbox
"""

from assay.grading.inginious.courses import Course, is_course, load_course
from assay.grading.inginious.environments import Environments
from assay.grading.inginious.grading import Submission, grade_submission
from assay.grading.inginious.judging import Graded, to_result
from assay.grading.inginious.recorded import (
    Difference,
    Recorded,
    compare,
    read_recorded,
    recorded_in,
)
from assay.grading.inginious.tasks import InginiousTask, is_task, load_task, tasks_in

__all__ = [
    "Course",
    "Difference",
    "Environments",
    "Graded",
    "InginiousTask",
    "Recorded",
    "Submission",
    "compare",
    "grade_submission",
    "is_course",
    "is_task",
    "load_course",
    "load_task",
    "read_recorded",
    "recorded_in",
    "tasks_in",
    "to_result",
]
