"""Flows of the end-to-end tests."""

import os
import time

from prefect import flow


@flow(log_prints=True)
def greet(name: str = "world", times: int = 1) -> int:
    """Prints its parameters and the variables that a test asks for."""
    for _ in range(times):
        print(f"Hello, {name}!")
    for variable in os.environ.get("E2E_SHOW", "").split():
        print(f"{variable}={os.environ.get(variable)!r}")
    return times


@flow
def broken() -> None:
    raise ValueError("broken on purpose")


@flow
def wait_for(path: str, trace: str) -> None:
    """Adds a line to the file trace, then waits until the file path exists."""
    with open(trace, "a") as file:
        file.write("executed\n")
    for _ in range(600):
        if os.path.exists(path):
            return
        time.sleep(0.1)
    raise TimeoutError(path)
