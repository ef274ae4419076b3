set_custom_value("answers", [get_input(name) for name in "abcdefg"])
set_global_result("success")
