"""What is put into sandboxes to carry unit tests: the standard library alone, Python 3.9 or newer.

`student` serves a learner's modules in the student sandbox. Everything else of a test is in the
grading sandbox: `run_unittest` and `run_pytest` start a framework in which `modules` stand for the
learner's, and `proxies` for what is in them. Neither ever runs on the host, which carries bytes
between them; what a student sandbox sends is hostile input to `channel`, `proxies` and `values`.
"""
