"""What Prefect imports to find our block and our worker: importing them
registers them."""

from .credentials import Northflank
from .worker import NorthflankWorker

__all__ = ["Northflank", "NorthflankWorker"]
