"""Run Prefect flows on Northflank.

Importing this package costs nothing until one of its names is used: Prefect,
which they need, takes seconds to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .credentials import Northflank
    from .worker import NorthflankWorker, NorthflankWorkerResult

__all__ = ["Northflank", "NorthflankWorker", "NorthflankWorkerResult"]

_MODULES = {
    "Northflank": ".credentials",
    "NorthflankWorker": ".worker",
    "NorthflankWorkerResult": ".worker",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name], __name__), name)
    if name == "__version__":
        return import_module("importlib.metadata").version("prefect-northflank")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Prefect's `block register --module` looks for blocks among these."""
    return [*globals(), *__all__]
