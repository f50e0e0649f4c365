"""The package as Python and Prefect find it."""

import importlib.metadata
import subprocess
import sys

import pytest
from prefect.plugins import load_prefect_collections
from prefect.utilities.dispatch import lookup_type
from prefect.workers.base import BaseWorker

import prefect_northflank

# Imports Prefect, then our package, and prints how long ours took, in seconds.
TIME_IMPORT = """
import time, prefect
began = time.perf_counter()
import prefect_northflank
print(time.perf_counter() - began)
"""

IMPORT_ALONE = """
import sys, prefect_northflank
print([name for name in ("prefect", "pydantic", "importlib.metadata") if name in sys.modules])
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_import_adds_next_to_nothing():
    assert float(run(TIME_IMPORT)) < 0.1


def test_import_does_not_import_prefect():
    assert run(IMPORT_ALONE) == "[]"


@pytest.mark.parametrize("name", ["Northflank", "NorthflankWorker", "NorthflankWorkerResult"])
def test_names_are_there_and_listed(name):
    assert getattr(prefect_northflank, name).__name__ == name
    assert name in dir(prefect_northflank)  # `prefect block register` looks there


def test_unknown_name():
    with pytest.raises(AttributeError, match="NorthflankClient"):
        prefect_northflank.NorthflankClient  # noqa: B018


def test_version():
    installed = importlib.metadata.version("prefect-northflank")
    assert prefect_northflank.__version__ == installed


def test_prefect_finds_the_collection():
    # The name that the server is told the package's version by.
    collection = load_prefect_collections()["prefect_northflank"]
    assert not isinstance(collection, Exception), collection


def test_prefect_finds_the_worker():
    load_prefect_collections()
    assert lookup_type(BaseWorker, "northflank") is prefect_northflank.NorthflankWorker
