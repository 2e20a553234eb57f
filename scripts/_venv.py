"""Set-up that demo.py and test.py share: `.venv` in the project's folder, made once from requirements.lock.

Standard library only, and it must parse on Python 2.7 and 3.6: an old interpreter has to get as far as the
message that names a better one. So no f-strings, no annotations, no pathlib.
"""

from __future__ import print_function

import hashlib
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WANTED = ((3, 11), (3, 14))  # from, below; pyproject.toml names the same range
STAMP = "quant-setup.txt"  # inside .venv, written last: a set-up that was cut short has none
READY, UPDATE, REBUILD = "ready", "update", "rebuild"
NO_GOOD_PYTHON = 3  # exit code "configuration", as the quant command has it


# --- which Python ---------------------------------------------------------------------------------


def suits(version):
    """Return whether a version tuple lies in the range that the project supports."""
    return WANTED[0] <= tuple(version[:2]) < WANTED[1]


def candidates(platform):
    """Return commands that may start a suitable Python, newest first."""
    minors = range(WANTED[1][1] - 1, WANTED[0][1] - 1, -1)
    if platform == "win32":
        return [["py", "-3.%d" % minor] for minor in minors] + [["python"]]
    return [["python3.%d" % minor] for minor in minors] + [["python3"]]


def answered_version(command):
    """Return the (major, minor) that an interpreter reports of itself, or None if it does not run."""
    # Asked and not guessed: version managers leave python3.x commands on PATH that only print an error.
    ask = command + ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    # Windows' py would fetch what we only ask about.
    env = dict(os.environ, PYTHON_MANAGER_AUTOMATIC_INSTALL="false")
    try:
        process = subprocess.Popen(ask, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        answer = process.communicate()[0].decode("ascii", "replace").strip()
    except OSError:
        return None
    parts = answer.split(".")
    if process.returncode != 0 or len(parts) != 2 or not all(part.isdigit() for part in parts):
        return None
    return (int(parts[0]), int(parts[1]))


def find_suitable(commands, answer):
    """Return the first command whose answered version suits, or None."""
    for command in commands:
        version = answer(command)
        if version is not None and suits(version):
            return command
    return None


def refusal(version, executable, suitable, call, platform):
    """Return what to tell the caller of a Python outside of the range.

    suitable: a command that starts a better one, or None. call: the script and its arguments.
    """
    minors = ["3.%d" % minor for minor in range(WANTED[0][1], WANTED[1][1])]
    found = ".".join(str(part) for part in version[:3])
    lines = [
        "quant needs Python %s or %s; this is Python %s (%s)."
        % (", ".join(minors[:-1]), minors[-1], found, executable)
    ]
    if suitable is not None:
        lines += ["This machine has a suitable one. Call:", "    " + shown(suitable + call)]
        return "\n".join(lines)
    install = {"win32": "winget install Python.Python.3.12", "darwin": "brew install python@3.12"}
    lines += [
        "No suitable one was found on PATH. Install one, for example with",
        "    " + install.get(platform, "sudo apt install python3.12 python3.12-venv"),
        "or from www.python.org, and call this script with it.",
    ]
    return "\n".join(lines)


def shown(command):
    """Return a command as one would type it."""
    return " ".join('"%s"' % part if " " in part else part for part in command)


# --- the state of .venv ---------------------------------------------------------------------------


def identity():
    """Return what a .venv must have been made with to be used by this interpreter."""
    return "python %d.%d.%d" % tuple(sys.version_info[:3])


def stamp_text(who, root, contents):
    """Return the stamp of a finished set-up.

    who: the interpreter's identity. root: the project's folder, as scripts in .venv hold its absolute path.
    contents: bytes of the files that say what to install.
    """
    digest = hashlib.sha256(b"\0".join(contents)).hexdigest()
    return "\n".join([who, os.path.normcase(os.path.realpath(root)), digest, ""])


def next_step(found, wanted):
    """Return READY, UPDATE (same Python and place, other packages) or REBUILD.

    found, wanted: stamps; found is None where there is none.
    """
    if found == wanted:
        return READY
    if found is not None and found.split("\n")[:2] == wanted.split("\n")[:2]:
        return UPDATE
    return REBUILD


def read(path):
    """Return a file's bytes."""
    with open(path, "rb") as file:
        return file.read()


def read_stamp(path):
    """Return the stamp's text, or None if there is none that can be read."""
    try:
        return read(path).decode("utf-8")
    except (OSError, IOError, UnicodeDecodeError):
        return None


def program(venv, name, windows):
    """Return the path of a program inside a virtual environment."""
    return os.path.join(venv, "Scripts" if windows else "bin", name + (".exe" if windows else ""))


# --- making it ------------------------------------------------------------------------------------


def environment(venv):
    """Return the environment for programs of .venv: its folder first on PATH, no other Python's paths."""
    others = ("PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__")
    env = {name: value for name, value in os.environ.items() if name not in others}
    programs = os.path.dirname(program(venv, "python", os.name == "nt"))
    env["PATH"] = programs + os.pathsep + env.get("PATH", "")
    env["VIRTUAL_ENV"] = venv
    return env


def run(command, env=None, cwd=ROOT):
    """Run a command to its end and return its exit code; its output is the caller's."""
    sys.stdout.flush()
    return subprocess.call(command, cwd=cwd, env=env)


def say(text):
    """Print one line of progress to stderr; stdout belongs to the program that runs afterwards."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def stop(code, *lines):
    """Leave with an exit code and a message on stderr."""
    say("\n".join(lines))
    sys.exit(code)


def make(venv):
    """Make an empty virtual environment, in place of what may be there."""
    import importlib.util  # here, as Python 2 has none

    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        stop(
            NO_GOOD_PYTHON,
            "This Python (%s) cannot make virtual environments: no module %s." % (sys.executable, missing[0]),
            "On Debian and Ubuntu: sudo apt install python%d.%d-venv" % sys.version_info[:2],
            "Elsewhere take an installer of www.python.org. Then call this again.",
        )
    # The base: a Python that runs out of .venv cannot clear the folder that it stands in.
    code = run([getattr(sys, "_base_executable", None) or sys.executable, "-m", "venv", "--clear", venv])
    if code != 0:
        stop(
            code,
            "Making %s failed (exit %d), see above." % (venv, code),
            "If a program still uses that folder (an editor, a notebook), close it and call again.",
        )


def count_packages(lock):
    """Return how many packages a lock's text names."""
    return sum("==" in line and line[:1].isalnum() for line in lock.splitlines())


def install(python, env):
    """Install the locked packages and the project itself into .venv."""
    lock = os.path.join(ROOT, "requirements.lock")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    # The lock is complete and of wheels alone, so nothing is resolved, built or fetched beside it.
    locked = ["--only-binary", ":all:", "--require-hashes", "-r", lock]
    for part in (locked, ["--no-build-isolation", "--editable", ROOT]):
        code = run(pip + part, env)
        if code != 0:
            stop(
                code,
                "pip failed (exit %d), see above. Is there a network?" % code,
                "A proxy is named by HTTPS_PROXY or in pip's configuration. The next call starts again.",
            )


def ready():
    """Return the path of .venv with everything installed, making it first where needed.

    Exits with a message and a code where it cannot.
    """
    if not suits(sys.version_info):
        better = find_suitable(candidates(sys.platform), answered_version)
        stop(NO_GOOD_PYTHON, refusal(sys.version_info, sys.executable, better, sys.argv, sys.platform))
    venv = os.path.join(ROOT, ".venv")
    python = program(venv, "python", os.name == "nt")
    stamp = os.path.join(venv, STAMP)
    contents = [read(os.path.join(ROOT, name)) for name in ("pyproject.toml", "requirements.lock")]
    wanted = stamp_text(identity(), ROOT, contents)
    step = next_step(read_stamp(stamp) if os.path.exists(python) else None, wanted)
    if step == READY:
        return venv
    if step == UPDATE:
        say("pyproject.toml or requirements.lock changed: bringing .venv up to date")
        os.remove(stamp)  # first: an update that is cut short must not pass for a finished one
    else:
        say("making .venv with Python %d.%d.%d" % tuple(sys.version_info[:3]))
        make(venv)
        say("installing %d packages, once; a minute or two" % count_packages(contents[1].decode("utf-8")))
    install(python, environment(venv))
    with open(stamp, "wb") as file:
        file.write(wanted.encode("utf-8"))
    return venv


def guarded(main):
    """Run a script's main function and exit with its code; Ctrl-C ends it without a traceback."""
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        stop(130, "interrupted; call again to go on")
