"""What a grader's Python says and asks in its sandbox; every function works without imports that
are slow, since a grader starts many short programs."""

DEBUG = False
FOLDER = "/.grading"
