import time
begin = time.perf_counter()
import inginious
from inginious import feedback, input, rst, lang, run_student as students
import inginious.feedback
from inginious_container_api import run_types, utils, ssh_student as ssh
took = time.perf_counter() - begin
assert inginious.feedback is feedback
feedback.set_global_result("failed")
feedback.set_global_result("success")
feedback.set_grade("75")
feedback.set_global_feedback("one")
feedback.set_global_feedback(" two", True)
feedback.set_problem_result("failed", "q1")
feedback.set_problem_feedback("p", "q1")
feedback.set_problem_feedback("q", "q1", append=True)
feedback.set_tag("loops", True)
feedback.set_tag("arrays", 1 == 2)
feedback.tag("again")
feedback.tag("again")
feedback.set_custom_value("deep", {"a": [1, None]})
feedback.set_state("kept")
assert feedback.get_feedback()["text"] == "one two"
assert feedback.get_feedback()["problems"]["q1"] == ["failed", "pq"]
try:
    feedback.set_global_feedback(b"bytes")
    raise SystemExit("bytes are no text")
except ValueError:
    pass
assert input.get_username() == "ada" and input.get_lang() == "en"
assert input.get_submission_time().year == 2026
assert input.get_input("q1") == "x\ny" and input.get_input("q2") == b"\x00\xff"
assert input.get_input("q2:filename") == "data.txt"
input.parse_template("form.txt", "out/form.txt")
assert open("out/form.txt").read() == "- x -\n- y -", open("out/form.txt").read()
open("bytes.txt", "w").write("@<@q2:value@>@")
input.parse_template("bytes.txt")
assert open("bytes.txt", "rb").read() == b"<\x00\xff>"
assert rst.get_codeblock("c", "a\nb") == "\n\n.. code-block:: c\n\n\ta\n\tb\n\n"
assert rst.get_admonition("nope", "", "t") == "\n\n.. note:: \n\t:class: alert alert-info\n\n\tt\n\n"
assert rst.indent_block(-1, "\ta\n\t\tb") == "a\n\tb\n"
open("i.png", "wb").write(b"png")
assert "data:image/png;base64,cG5n" in rst.get_imageblock("i.png")
lang.init()
assert _("same") == "same"
assert feedback.set_feedback_from_tpl("page", {"value": 3}, problem_id="q2")
utils.set_executable("i.png")
assert run_types.run_types["sh"] == ["/bin/bash"]
feedback.set_custom_value("import_ms", took * 1000)
