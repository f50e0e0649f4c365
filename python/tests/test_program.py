"""Finding and running the program."""

import os
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from prefect_northflank import _program

pytestmark = pytest.mark.skipif(os.name == "nt", reason="makes programs for a Unix")

BINARY = b"\x7fELF"  # no more of it is looked at


def make_program(folder: Path, content: bytes = BINARY) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _program.NAME
    path.write_bytes(content)
    path.chmod(0o755)
    return str(path)


class File(str):
    """A file as metadata.files lists it."""

    @property
    def name(self) -> str:
        return os.path.basename(self)

    def locate(self) -> str:
        return str(self)


@pytest.fixture
def places(monkeypatch, tmp_path):
    """Where a program is looked for: nothing is there yet."""
    module = tmp_path / "target" / "prefect_northflank" / "_program.py"
    monkeypatch.setattr(_program, "__file__", str(module))
    monkeypatch.setattr(metadata, "files", lambda _: [File(tmp_path / "venv" / _program.NAME)])
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.delenv(_program.VARIABLE, raising=False)
    return tmp_path


def test_the_first_place_wins(monkeypatch, places):
    # From the last to the first, so that each one is found when it appears.
    for place in ["path", "target/bin", "venv"]:
        made = make_program(places / place)
        assert _program.find() == made
    named = make_program(places / "named")
    monkeypatch.setenv(_program.VARIABLE, named)
    assert _program.find() == named


def test_not_installed_by_a_package_manager(monkeypatch, places):
    def files(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", files)
    made = make_program(places / "path")
    assert _program.find() == made


def test_nothing_found_says_what_to_do(places):
    make_program(places / "venv", b"#!/usr/bin/python\n")  # of a wheel without a program
    (places / "path").mkdir()
    (places / "path" / _program.NAME).write_bytes(BINARY)  # may not be executed
    with pytest.raises(_program.ProgramNotFoundError, match="go install"):
        _program.find()


def run_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_replace_process():
    """The program gets arguments, environment and standard output, and has the
    signals that Python ignores at their defaults."""
    script = 'echo "$0 $1 $NAME"; kill -PIPE $$; echo "SIGPIPE is ignored"'
    done = run_python(
        "from prefect_northflank import _program\n"
        "print('before')\n"
        f"_program.replace_process('/bin/sh', ['-c', {script!r}, 'arg0', 'arg1'], {{'NAME': 'value'}})"
    )
    assert done.stdout == "before\narg0 arg1 value\n"
    assert done.returncode == -signal.SIGPIPE


CHILD = """
import os, sys
from prefect_northflank import _program
child = _program.Child("/bin/sh", ["-c", sys.argv[1]], {})
os.write(1, b'alive\\n' if child.is_alive() else b'dead\\n')
sys.exit(child.wait())
"""


def start_child(script: str) -> subprocess.Popen:
    """Starts a Python that supervises a shell script, and waits until both are ready."""
    parent = subprocess.Popen(
        [sys.executable, "-c", CHILD, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert {parent.stdout.readline(), parent.stdout.readline()} == {"alive\n", "ready\n"}
    return parent


@pytest.mark.parametrize(("status", "want"), [("exit 7", 7), ("kill -KILL $$", 128 + 9)])
def test_child_exit_status(status, want):
    parent = start_child(f"echo ready; read -r _; {status}")
    parent.communicate("\n", timeout=20)
    assert parent.returncode == want


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_child_gets_each_signal_once(number):
    """Also when it goes to the whole group, as Ctrl-C does."""
    name = number.name.removeprefix("SIG")
    # A second signal in the same tenth of a second would be counted.
    parent = start_child(
        f"n=0; trap 'n=$((n+1)); sleep 0.1; exit $((10+n))' {name}; echo ready;"
        " while :; do sleep 0.01; done"
    )
    os.killpg(parent.pid, number)
    assert parent.wait(timeout=20) == 11
