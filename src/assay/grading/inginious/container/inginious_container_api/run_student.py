"""Programs of students, in sandboxes of their own: by the command of the same name."""

import subprocess

from inginious_container_api import FOLDER

_COMMAND = FOLDER + "/bin/run_student"


def _argv(cmd, container, time_limit, hard_time_limit, memory_limit, share_network, working_dir,
          teardown_script):  # fmt: skip
    argv = [_COMMAND]
    if container:
        argv += ["--container", container]
    for flag, value in (
        ("--time", time_limit), ("--hard-time", hard_time_limit), ("--memory", memory_limit),
    ):  # fmt: skip
        if value:
            argv += [flag, str(int(value))]
    if share_network:
        argv.append("--share-network")
    if working_dir:
        argv += ["--working-dir", working_dir]
    if teardown_script:
        argv += ["--teardown-script", teardown_script]
    return [*argv, "--", *([cmd] if cmd else [])]


def run_student(cmd, container=None, time_limit=0, hard_time_limit=0, memory_limit=0,
                share_network=False, working_dir=None, stdin=None, stdout=None, stderr=None,
                signal_handler_callback=None, ssh=False, start_student_as_root=False,
                teardown_script=""):  # fmt: skip
    """Run a command, and return its exit status: 251 not available here, 252 out of memory,
    253 out of time, 254 no sandbox, 256 - n ended by signal n.

    `stdin`, `stdout` and `stderr` are descriptors or files; None stands for /dev/null.
    `signal_handler_callback` is called with a function that sends the program a signal.
    """
    if ssh or start_student_as_root:
        from inginious_container_api._journal import fault

        fault("run_student: neither a login nor root is to be had in a sandbox of Assay")
        return 251
    argv = _argv(cmd, container, time_limit, hard_time_limit, memory_limit, share_network,
                 working_dir, teardown_script)  # fmt: skip
    streams = [subprocess.DEVNULL if each is None else each for each in (stdin, stdout, stderr)]
    try:
        program = subprocess.Popen(argv, stdin=streams[0], stdout=streams[1], stderr=streams[2])
    except OSError:
        return 251
    if signal_handler_callback is not None:
        signal_handler_callback(program.send_signal)
    status = program.wait()
    return status if status >= 0 else 254


def run_student_simple(cmd, cmd_input=None, container=None, time_limit=0, hard_time_limit=0,
                       memory_limit=0, share_network=False, working_dir=None,
                       stdout_err_fuse=False, text="utf-8"):  # fmt: skip
    """Run a command with `cmd_input` (a text, or bytes): (stdout, stderr, status), or with
    `stdout_err_fuse` (stdout, status). `text` is the encoding, or False for bytes.

    Input and output may be as long as they like: they are carried at the same time. What is none
    of the encoding is replaced: a student's program must not be able to stop its grader.
    """
    argv = _argv(cmd, container, time_limit, hard_time_limit, memory_limit, share_network,
                 working_dir, "")  # fmt: skip
    if isinstance(cmd_input, str):
        cmd_input = cmd_input.encode(text or "utf-8")
    program = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL if cmd_input is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if stdout_err_fuse else subprocess.PIPE,
    )
    stdout, stderr = program.communicate(cmd_input)
    status = program.returncode if program.returncode >= 0 else 254
    if text is not False:
        stdout = stdout.decode(text, "replace")
        stderr = None if stderr is None else stderr.decode(text, "replace")
    return (stdout, status) if stdout_err_fuse else (stdout, stderr, status)


def _hack_signals(receive_signal):
    """Pass on every signal that can be caught to the student's program."""
    import signal

    def passed(number, _):
        receive_signal(number)

    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        try:
            signal.signal(number, passed)
        except (OSError, ValueError):
            pass
