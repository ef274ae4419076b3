"""What runs a grader, by the ending of its file's name."""

run_types = {
    "py": ["/.grading/bin/inginious-ipython"],
    "py3": ["/.grading/bin/inginious-ipython"],
    "sh": ["/bin/bash"],
}
