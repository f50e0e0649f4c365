"""The worker class, up to the call of the program."""

import asyncio
import json
import os
from importlib import resources
from unittest import mock

import prefect.settings
import pytest
from prefect.settings import (
    PREFECT_API_KEY,
    PREFECT_API_URL,
    PREFECT_CLIENT_RETRY_EXTRA_CODES,
    temporary_settings,
)

import prefect_northflank
from prefect_northflank import NorthflankWorker, _program, worker


def make(**options):
    return NorthflankWorker(**{"work_pool_name": "pool", "name": "w", **options})


def handed_over(monkeypatch, options=None, **start_options):
    """Starts a worker and returns the program, arguments and environment of its call."""
    called = mock.Mock(side_effect=SystemExit)
    monkeypatch.setattr(_program, "find", lambda: "/bin/prefect-northflank")
    monkeypatch.setattr(os, "execve", called)
    with pytest.raises(SystemExit):
        asyncio.run(make(**(options or {})).start(**start_options))
    program, arguments, environment = called.call_args.args
    assert arguments[:3] == [program, "worker", "start"]
    return arguments[3:], environment


DEFAULTS = [
    *("--pool", "pool", "--name", "w"),
    *("--prefetch-seconds", "10.0", "--heartbeat-seconds", "30.0"),
]


@pytest.mark.parametrize(
    ("options", "start_options", "want"),
    [
        ({}, {}, DEFAULTS),
        ({"work_pool_name": "other"}, {}, ["--pool", "other", *DEFAULTS[2:]]),
        ({"name": "my worker"}, {}, [*DEFAULTS[:3], "my worker", *DEFAULTS[4:]]),
        (
            {"work_queues": ["b", "a"]},
            {},
            [*DEFAULTS[:4], "--work-queue", "a", "--work-queue", "b", *DEFAULTS[4:]],
        ),
        ({"limit": 3}, {}, [*DEFAULTS[:4], "--limit", "3", *DEFAULTS[4:]]),
        ({"prefetch_seconds": 20}, {}, [*DEFAULTS[:5], "20", *DEFAULTS[6:]]),
        ({"heartbeat_interval_seconds": 7}, {}, [*DEFAULTS[:7], "7"]),
        ({"create_pool_if_not_found": False}, {}, [*DEFAULTS, "--no-create-pool-if-not-found"]),
        ({}, {"run_once": True}, [*DEFAULTS, "--run-once"]),
        ({}, {"with_healthcheck": True}, [*DEFAULTS, "--with-healthcheck"]),
    ],
)
def test_arguments(monkeypatch, options, start_options, want):
    arguments, _ = handed_over(monkeypatch, options, **start_options)
    assert arguments == want


def test_a_worker_without_a_name_gets_one(monkeypatch):
    arguments, _ = handed_over(monkeypatch, {"name": None})
    assert arguments[2] == "--name"
    assert arguments[3].startswith("NorthflankWorker ")


def test_base_job_template_is_handed_over(monkeypatch):
    template = {
        "job_configuration": {"command": "{{ command }}"},
        "variables": {"text": "ä" * 9000},
    }
    arguments, _ = handed_over(monkeypatch, {"base_job_template": template})
    assert arguments[-2] == "--base-job-template"
    with open(arguments[-1]) as file:
        assert os.get_inheritable(int(arguments[-1].removeprefix("/dev/fd/")))
        assert json.load(file) == template


def test_settings_reach_the_program(monkeypatch):
    monkeypatch.setenv("OTHER", "kept")
    with temporary_settings(
        {
            PREFECT_API_URL: "http://other.invalid/api",
            PREFECT_API_KEY: "planted-key",
            PREFECT_CLIENT_RETRY_EXTRA_CODES: "504,404",
        }
    ):
        _, environment = handed_over(monkeypatch)
    assert environment["PREFECT_API_URL"] == "http://other.invalid/api"
    assert environment["PREFECT_API_KEY"] == "planted-key"
    assert environment["PREFECT_CLIENT_RETRY_EXTRA_CODES"] == "404,504"
    assert environment["PREFECT_PROFILE"] == "ephemeral"
    assert environment["OTHER"] == "kept"


def test_custom_headers_reach_the_program(monkeypatch):
    if not hasattr(prefect.settings, "PREFECT_CLIENT_CUSTOM_HEADERS"):
        pytest.skip("this Prefect does not have the setting")
    headers = {"X-Team": "data", "X-Quote": '"'}
    with temporary_settings({prefect.settings.PREFECT_CLIENT_CUSTOM_HEADERS: headers}):
        _, environment = handed_over(monkeypatch)
    assert json.loads(environment["PREFECT_CLIENT_CUSTOM_HEADERS"]) == headers


def test_no_api_url(monkeypatch):
    monkeypatch.setattr(_program, "find", lambda: "/bin/prefect-northflank")
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(SystemExit, match="PREFECT_API_URL is not set"),
    ):
        asyncio.run(make().start())


def test_no_program(monkeypatch):
    monkeypatch.setenv(_program.VARIABLE, "/nowhere/prefect-northflank")
    with pytest.raises(SystemExit, match="/nowhere/prefect-northflank is not a program"):
        asyncio.run(make().start())


def test_template_is_that_of_the_program():
    package = resources.files(prefect_northflank)
    file = json.loads((package / "base-job-template.json").read_text())
    assert NorthflankWorker.get_default_base_job_template() == file


def test_single_flow_runs_are_refused():
    with pytest.raises(NotImplementedError, match="prefect worker start"):
        asyncio.run(make().run(None, None))


def test_health_is_that_of_the_child():
    w = make()
    assert w.is_worker_still_polling(query_interval_seconds=0)
    w._child = mock.Mock(spec=_program.Child)
    for alive in (True, False):
        w._child.is_alive.return_value = alive
        assert w.is_worker_still_polling(query_interval_seconds=0) is alive


@pytest.mark.parametrize("status", [0, 7])
def test_supervised(monkeypatch, status):
    child = mock.Mock(spec=_program.Child)
    child.return_value.wait.return_value = status
    monkeypatch.setenv(worker.SUPERVISE_VARIABLE, "1")
    monkeypatch.setattr(_program, "find", lambda: "/bin/prefect-northflank")
    monkeypatch.setattr(_program, "Child", child)
    if status == 0:
        asyncio.run(make().start())
    else:
        with pytest.raises(SystemExit) as stopped:
            asyncio.run(make().start())
        assert stopped.value.code == status
    program, arguments, _ = child.call_args.args
    assert [program, *arguments] == ["/bin/prefect-northflank", "worker", "start", *DEFAULTS]
