# An interpreter that waits for a program: interpreter.c starts it in place of one, and
# docs/environments.md says what it promises. It imports what its arguments name; when a request
# comes, it becomes the program. Whatever is not exactly as `python file.py` would have it, it
# leaves to a Python that is started anew in its own place: nothing has happened by then.
#
# It runs as the learner, and reads nothing of the learner's before the request: HOME is nowhere,
# and the folder is the root. It is used once.
#
# Lines of comments alone are left out of the agent. Nothing is imported here that Python has not
# imported by itself: what is in sys.modules hides a learner's file of the same name.
import posix
import sys

CONTROL = 3
SOURCES = (".py", ".python3")  # the second one is CodeRunner's
SETTINGS = ("PYTHON", "LD_", "LC_", "LANG", "TZ", "GLIBC_", "MALLOC_", "GCONV_", "HOME", "PATH")
OF_TERMINALS = ("TERM", "COLUMNS", "LINES")
SHELL = "/bin/bash"
OF_SHELLS = ("PWD", "OLDPWD", "SHLVL", "_", "LC_ALL", "ENV", "POSIXLY_CORRECT", "SHELLOPTS")
PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+=:,./@% "
HEADER_SIZE = 12
ARGUMENT, ENVIRONMENT, DIRECTORY, SEPARATE_STDERR = 16, 17, 18, 22
ARGUMENTS_START, ARGUMENTS_END = 45, 46

SAMPLE = """
import sys as one
from sys import path as other
class Thing(Exception):
    kind = {"a": 1, 2: [x for x in range(3) if x]}
    def method(self, *rest, named=None, **more):
        for i, x in enumerate(rest):
            while x > 1 and not named:
                x, named = x // 2 - 1, f"{x!r:>3}" + "%d" % i
        return lambda: (yield)
try:
    print(Thing().method(7)().send(None), sep="", flush=True)
    raise Thing("a") from None
except (Thing, OSError) as error:
    print(error, str(3.5), len(input.__name__[1:]))
finally:
    pass
with open("/dev/null") as file:
    print(file.read())
"""

os = sys.modules["os"]
site = sys.modules.get("site")
interpreter, packages = sys.orig_argv[0], sys.argv[1:]
with open("/proc/self/environ", "rb", buffering=0) as file:
    given = [pair.partition(b"=")[0].decode() for pair in file.readall().split(b"\0")]
started_with = {name: os.environ[name] for name in os.environ if name in given and name != "HOME"}
# Python itself sets LC_CTYPE where nothing else says what letters are.
of_python = {name: os.environ[name] for name in os.environ if name not in given}
sys.modules.pop("linecache", None)  # from Python 3.13 on, `-c` has imported that
by_itself = set(sys.modules)
names = ("__name__", "__doc__", "__package__", "__spec__", "__annotations__", "__builtins__")
main_as_it_was = {
    name: value for name, value in vars(sys.modules["__main__"]).items() if name in names
}
if sys.path[0] == "":
    del sys.path[0]


def silently(work):
    """What packages say while they are imported is not the program's to say."""
    kept = [posix.dup(1), posix.dup(2)]
    nowhere = posix.open("/dev/null", posix.O_WRONLY)
    for number in (1, 2):
        posix.dup2(nowhere, number)
    try:
        work()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number in (1, 2):
            posix.dup2(kept[number - 1], number)
        for descriptor in (nowhere, *kept):
            posix.close(descriptor)


def import_packages():
    """What is there from here on need not be looked through again and again, least of all at the
    program's end: with pandas, that takes longer than most programs."""
    for name in packages:
        try:
            __import__(name)
        except Exception:
            pass  # the program will be told, if it wants it
    gc = __import__("gc")
    gc.collect()
    gc.freeze()


def receive(length):
    data = b""
    while len(data) < length:
        more = posix.read(CONTROL, length - len(data))
        if not more:
            posix._exit(0)  # the agent has no use for this process any more
        data += more
    return data


def fields():
    """The request, and the number of its terminal or -1: struct start_header, then its fields."""
    header = receive(HEADER_SIZE)
    payload, at = receive(int.from_bytes(header[:4], "little")), 0
    found = {ARGUMENT: [], ENVIRONMENT: [], DIRECTORY: [b"/"], SEPARATE_STDERR: [b""]}
    while at < len(payload):
        size = int.from_bytes(payload[at + 1 : at + 5], "little")
        found.setdefault(payload[at], []).append(payload[at + 5 : at + 5 + size])
        at += 5 + size
    return found, int.from_bytes(header[4:8], "little", signed=True)


def open_terminal(number, separate_stderr):
    """The first terminal that the leader of a session opens is its controlling one."""
    terminal = posix.open(f"/dev/pts/{number}", posix.O_RDWR | posix.O_CLOEXEC)
    for stream in (0, 1) if separate_stderr else (0, 1, 2):
        posix.dup2(terminal, stream)
    posix.close(terminal)
    if not sys.stdout.write_through:
        sys.stdout.reconfigure(line_buffering=True)


def fail(step, error):
    posix.write(CONTROL, error.to_bytes(4, "little") + step.ljust(16, b"\0"))
    posix._exit(127 if error in (2, 20) else 126)


def begin_anew(argv, environment):
    """As if this process had never been an interpreter."""
    signal = sys.modules["_signal"]
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    posix.set_inheritable(CONTROL, False)
    try:
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        fail(b"program", error.errno)


def is_own_path(program, environment):
    if "/" in program:
        return program == interpreter
    for folder in environment.get("PATH", os.defpath).split(":"):
        path = os.path.join(folder, program)
        if posix.access(path, posix.X_OK) and not os.path.isdir(path):
            return path == interpreter
    return False


def may_be_added(name):
    return name in OF_TERMINALS or (not packages and not name.startswith(SETTINGS))


def fits(argv, environment):
    """Whether this interpreter was started as the request's would be, but for what can be set."""
    return (
        len(argv) > 1
        and argv[1].endswith(SOURCES)
        and not argv[1].startswith("-")
        and is_own_path(argv[0], environment)
        and all(environment.get(name) == value for name, value in started_with.items())
        and all(map(may_be_added, environment.keys() - started_with.keys() - {"HOME"}))
    )


def as_shell_would(argv, environment):
    """The command of a line for bash, if it is of plain words: bash becomes such a program itself.

    Returns the arguments, and what bash adds to the environment.
    """
    if len(argv) != 3 or argv[:2] != [SHELL, "-c"]:
        return argv, {}
    known = any(name in OF_SHELLS or name.startswith("BASH") for name in environment)
    if known or not all(letter in PLAIN for letter in argv[2]) or not posix.access(SHELL, 1):
        return argv, {}
    return argv[2].split(), {"PWD": posix.getcwd(), "SHLVL": "0", "_": interpreter}


def take(environment):
    environment = {**of_python, **environment}
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def has_packages_of_its_own():
    """Whether the learner has a folder of packages, which only the start of Python looks into."""
    if site is None or not site.ENABLE_USER_SITE:
        return False
    site.USER_BASE = site.USER_SITE = None
    return os.path.isdir(site.getusersitepackages())


def hidden(folder):
    """Whether a file there is what a module's name would mean that is imported already."""
    imported = {name.partition(".")[0] for name in sys.modules.keys() - by_itself}
    return bool(imported) and any(
        name.partition(".")[0] in imported for name in posix.listdir(folder)
    )


def read(path):
    with open(path, "rb", buffering=0) as file:
        source = file.readall()
    if b"PK\x05\x06" in source:
        raise ValueError("it may be an archive")
    return source


def name_in_lists(argv):
    """What `ps` shows: these arguments in place of those that this interpreter has."""
    line = b"".join(os.fsencode(argument) + b"\0" for argument in argv)
    with open("/proc/self/stat", "rb", buffering=0) as file:
        numbers = file.readall().rpartition(b")")[2].split()
    start, end = int(numbers[ARGUMENTS_START]), int(numbers[ARGUMENTS_END])
    try:
        memory = posix.open("/proc/self/mem", posix.O_RDWR | posix.O_CLOEXEC)
        posix.pwrite(memory, line[: end - start - 1].ljust(end - start, b"\0"), start)
        posix.close(memory)
    except OSError:
        pass  # not every kernel lets it; then it has the name that it had


def main_module(path):
    main = type(sys)("__main__")
    main.__dict__.update(main_as_it_was, __file__=path, __cached__=None)
    main.__loader__ = sys.modules["_frozen_importlib_external"].SourceFileLoader("__main__", path)
    return main


def program(argv, environment):
    """Become the program; return its code and its module. Raises where a Python anew is wanted."""
    path = os.path.join(posix.getcwd(), argv[1])
    folder = os.path.dirname(os.path.realpath(path))
    take(environment)
    if has_packages_of_its_own() or hidden(folder):
        raise ValueError("there are modules of its own")
    code = compile(read(path), path, "exec", 0, True)
    main = main_module(path)
    sys.modules["__main__"] = main
    sys.argv, sys.orig_argv = argv[1:], argv
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, folder)
    name_in_lists(argv)
    return code, main.__dict__


def rehearse():
    """The first time all this costs ten times as much: its pages of memory are not there yet."""
    silently(lambda: exec(compile(SAMPLE, "", "exec", 0, True), {"__name__": ""}))
    compile(SAMPLE * 20, "", "exec", 0, True)
    fits([interpreter, ".py"], {**os.environ})
    os.environ["HOME"] = os.environ["HOME"]
    has_packages_of_its_own()
    hidden("/")
    main_module(read("/dev/null").decode())
    name_in_lists([interpreter, "-c"])


def wait():
    """Wait for the request; return the code to run, the module's dictionary, and `leave`."""
    if packages:
        silently(import_packages)
    rehearse()
    posix.write(CONTROL, b"R")
    request, terminal = fields()
    argv = [os.fsdecode(argument) for argument in request[ARGUMENT]]
    pairs = (os.fsdecode(pair).partition("=") for pair in request[ENVIRONMENT])
    environment = {name: value for name, _, value in pairs}
    if terminal >= 0:
        try:
            open_terminal(terminal, any(request[SEPARATE_STDERR][-1]))
        except OSError as error:
            fail(b"terminal", error.errno)
    try:
        posix.chdir(request[DIRECTORY][-1])
    except OSError as error:
        fail(b"directory", error.errno)
    code = None
    words, more = as_shell_would(argv, environment)
    if fits(words, environment):
        try:
            code, main = program(words, {**environment, **more})
        except Exception:
            pass
    if code is None:
        begin_anew(argv, environment)
    posix.close(CONTROL)
    return code, main


def leave_out(shown):
    """Let the next exception be shown without the frame below the program."""

    def show(kind, error, trace):
        sys.excepthook = shown
        sys.last_traceback = trace = trace.tb_next
        shown(kind, error.with_traceback(trace), trace)

    sys.excepthook = show
