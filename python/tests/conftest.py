"""Keeps the tests away from the Prefect of whoever runs them."""

import os
import tempfile

for name in [name for name in os.environ if name.upper().startswith("PREFECT_")]:
    del os.environ[name]
_home = tempfile.TemporaryDirectory()
os.environ["PREFECT_HOME"] = _home.name
os.environ["PREFECT_API_URL"] = "http://prefect.invalid/api"
