"""The worker, as Prefect's command line knows it.

The work itself is done by the program prefect-northflank: `start` hands over to
it. Where it can, it turns its own process into the program, so that no Python is
left and signals and exit status are the program's own.
"""

import contextlib
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from prefect.context import get_settings_context
from prefect.workers.base import BaseWorker, BaseWorkerResult

from . import _program

# Set to 1, the program runs as a child of Python, as it does on Windows, where a
# process cannot turn into another program.
SUPERVISE_VARIABLE = "PREFECT_NORTHFLANK_SUPERVISE"


class NorthflankWorkerResult(BaseWorkerResult):
    """Kept for programs that import it: the worker's results stay in the program."""


class NorthflankWorker(BaseWorker):
    """Runs the flow runs of a work pool as Northflank job runs."""

    type = "northflank"
    _display_name = "Northflank"
    _description = "Execute flow runs as containerized jobs on Northflank."
    _documentation_url = "https://github.com/northflank/prefect-northflank"
    _logo_url = "https://assets.northflank.com/Group_1410119476_2_b23babb7fd.png"

    _child: _program.Child | None = None

    @classmethod
    def get_default_base_job_template(cls) -> dict[str, Any]:
        template = resources.files(__package__) / "base-job-template.json"
        return json.loads(template.read_text(encoding="utf-8"))

    async def start(
        self,
        run_once: bool = False,
        with_healthcheck: bool = False,
        printer: Callable[..., None] = print,
    ) -> None:
        """
        Starts the worker and runs until it is stopped.

        Unless PREFECT_NORTHFLANK_SUPERVISE is set, or on Windows, this process
        turns into the program prefect-northflank and the method does not return.
        """
        try:
            program = _program.find()
            environment = _environment()
        except RuntimeError as error:
            sys.exit(f"error: {error}")
        supervise = os.name == "nt" or bool(os.environ.get(SUPERVISE_VARIABLE))
        # Prefect 3.8 serves the health check from a thread of its own, before it
        # calls this method. That thread ends with Python, the port is free then.
        thread = "healthcheck-server-thread" in (t.name for t in threading.enumerate())
        arguments = self._arguments(run_once, with_healthcheck or (thread and not supervise))
        if not supervise:
            if self._base_job_template is not None:
                arguments += ["--base-job-template", _lasting_file(self._base_job_template)]
            _program.replace_process(program, arguments, environment)
        with _temporary_file(self._base_job_template) as path:
            if path is not None:
                arguments += ["--base-job-template", path]
            self._child = _program.Child(program, arguments, environment)
            status = self._child.wait()
        if status != 0:
            sys.exit(status)

    def _arguments(self, run_once: bool, with_healthcheck: bool) -> list[str]:
        arguments = ["worker", "start", "--pool", self._work_pool_name, "--name", self.name]
        for queue in sorted(self._work_queues):
            arguments += ["--work-queue", queue]
        if self._limit is not None:
            arguments += ["--limit", str(self._limit)]
        arguments += ["--prefetch-seconds", str(self._prefetch_seconds)]
        arguments += ["--heartbeat-seconds", str(self.heartbeat_interval_seconds)]
        if not self._create_pool_if_not_found:
            arguments.append("--no-create-pool-if-not-found")
        if run_once:
            arguments.append("--run-once")
        if with_healthcheck:
            arguments.append("--with-healthcheck")
        return arguments

    def is_worker_still_polling(self, query_interval_seconds: float) -> bool:
        """Says whether the program lives, where Prefect serves the health check."""
        return self._child is None or self._child.is_alive()

    async def run(self, flow_run: Any, configuration: Any, task_status: Any = None) -> Any:
        raise NotImplementedError(
            "NorthflankWorker does not run single flow runs: start it, by `prefect"
            " worker start`, and it runs those of its work pool."
        )


def _environment() -> dict[str, str]:
    """
    Returns the environment in which the program finds the same settings as
    Prefect here: of a profile named on the command line, for one.
    """
    context = get_settings_context()
    settings = context.settings
    if not settings.api.url:
        # Prefect would start a server of its own, to end with this process.
        raise RuntimeError(
            "PREFECT_API_URL is not set. Name your Prefect server: prefect config set"
            " PREFECT_API_URL=http://HOST:4200/api, or prefect cloud login"
        )
    values = settings.to_environment_variables(exclude_unset=True)
    # Prefect 3.1 writes these two in Python's notation.
    if "PREFECT_CLIENT_CUSTOM_HEADERS" in values:
        values["PREFECT_CLIENT_CUSTOM_HEADERS"] = json.dumps(settings.client.custom_headers)
    if "PREFECT_CLIENT_RETRY_EXTRA_CODES" in values:
        codes = sorted(settings.client.retry_extra_codes)
        values["PREFECT_CLIENT_RETRY_EXTRA_CODES"] = ",".join(map(str, codes))
    environment = {**os.environ, **values}
    # The program adds the active profile's settings, so that must be the same one.
    # It knows the user's profiles, and of Prefect's own the default.
    profile = context.profile
    known = profile.source == settings.profiles_path
    environment["PREFECT_PROFILE"] = profile.name if known else "ephemeral"
    return environment


def _lasting_file(template: dict[str, Any]) -> str:
    """Writes a file without a name, which is there until the process ends."""
    with tempfile.TemporaryFile() as file:
        file.write(json.dumps(template).encode())
        file.flush()
        descriptor = os.dup(file.fileno())
    os.lseek(descriptor, 0, os.SEEK_SET)  # macOS opens it where it stands
    os.set_inheritable(descriptor, True)
    return f"/dev/fd/{descriptor}"


@contextlib.contextmanager
def _temporary_file(template: dict[str, Any] | None) -> Iterator[str | None]:
    if template is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "base-job-template.json")
        path.write_text(json.dumps(template), encoding="utf-8")
        yield str(path)
