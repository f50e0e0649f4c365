"""Finds the program prefect-northflank, which is the worker, and runs it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import NoReturn

NAME = "prefect-northflank.exe" if os.name == "nt" else "prefect-northflank"

# Names a program to run in place of the one that was installed.
VARIABLE = "PREFECT_NORTHFLANK_BIN"

# How long to wait at a time for the child: on Windows a wait without an end is
# one that Ctrl-C cannot interrupt. In seconds.
_GLANCE = 0.5


class ProgramNotFoundError(RuntimeError):
    """There is no program to run; the text says what to do."""


def find() -> str:
    """Returns the path of the program."""
    if named := os.environ.get(VARIABLE):
        if found := shutil.which(named):
            return found
        raise ProgramNotFoundError(
            f"{VARIABLE}={named} is not a program. Correct it, or unset it to use the"
            " program that was installed with prefect-northflank."
        )
    for candidate in _candidates():
        if _is_program(candidate):
            return str(candidate)
    raise ProgramNotFoundError(
        "The program prefect-northflank, which is the worker, is not installed: there"
        f" is none for this platform ({sys.platform}) in the package. Build it with"
        " Go, on PATH or wherever you like:\n"
        "  go install github.com/northflank/prefect-northflank/cmd/prefect-northflank@latest\n"
        f"and, if it is not on PATH, name it: {VARIABLE}=/path/to/prefect-northflank"
    )


def _candidates() -> Iterator[Path]:
    try:
        files = metadata.files("prefect-northflank") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == NAME:
            yield Path(file.locate())
    # `pip install --target` puts programs elsewhere than it writes down.
    yield Path(__file__).parents[1] / "bin" / NAME
    for folder in os.get_exec_path():
        yield Path(folder, NAME)


def _is_program(path: Path) -> bool:
    if not path.is_file() or not os.access(path, os.X_OK):
        return False
    with path.open("rb") as file:
        return file.read(2) != b"#!"  # the script of a wheel without a program


def replace_process(
    program: str, arguments: Sequence[str], environment: Mapping[str, str]
) -> NoReturn:
    """Turns this process into the program: same process id, nothing of Python left."""
    sys.stdout.flush()
    sys.stderr.flush()
    # Python ignores these signals, and what is ignored would stay so.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.execve(program, [program, *arguments], environment)


class Child:
    """The program as a child of this process, which passes signals on to it."""

    def __init__(
        self, program: str, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        # In a group of its own, so that Ctrl-C arrives here alone and is passed
        # on once: the program ends at once at a second one.
        own_group = (
            {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
            if os.name == "nt"
            else {"start_new_session": True}
        )
        self._process = subprocess.Popen([program, *arguments], env=dict(environment), **own_group)
        for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._pass_on)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> int:
        """Waits for the end of the program and returns its exit status."""
        while True:
            try:
                status = self._process.wait(_GLANCE)
            except subprocess.TimeoutExpired:
                continue
            return status if status >= 0 else 128 - status  # as a shell tells a signal

    def _pass_on(self, number: int, _frame: object) -> None:
        if os.name == "nt":  # the one that a group of its own takes
            number = signal.CTRL_BREAK_EVENT
        self._process.send_signal(number)


def main() -> NoReturn:
    """Is the command prefect-northflank of a wheel without a program."""
    try:
        program = find()
    except ProgramNotFoundError as error:
        sys.exit(f"error: {error}")
    replace_process(program, sys.argv[1:], os.environ)
