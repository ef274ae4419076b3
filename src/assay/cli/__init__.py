"""The command `assay`.

main.py          the way in: nothing but the last defence against tracebacks
app.py           the group of commands, each imported when it is called
run.py           `assay run`: request.py understands what is wanted, perform.py does it in a
                 sandbox, answers.py says how it ended (remarks.py in words, as_json.py)
follow.py        one program joined to this process: streams.py terminal.py interrupts.py
workspace.py     files of this machine that go into a sandbox
demo.py env.py driver.py doctor.py bench.py    the other commands; samples.py, show.py
exit_status.py   every exit status, in one table; failure.py: an error as one line
"""
