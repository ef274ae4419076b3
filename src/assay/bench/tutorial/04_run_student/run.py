parse_template("student/template.py", "student/program.py")
good = 0
for a, b in ((1, 2), (20, 22)):
    stdout, stderr, status = run_student_simple("python3 student/program.py", "%d %d\n" % (a, b))
    good += status == 0 and stdout.strip() == str(a + b)
    if status == 253:
        set_problem_feedback("Too slow.\n", "question1", True)
    elif status:
        set_problem_feedback(get_codeblock("text", stderr), "question1", True)
set_problem_result("success" if good == 2 else "failed", "question1")
set_global_result("success" if good == 2 else "failed")
set_grade(50 * good)
