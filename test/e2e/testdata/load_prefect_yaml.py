"""Tells what Prefect makes of files: how many deployments `prefect deploy` finds
in each, and which of them a server refuses for their job variables. Arguments: a
base job template, and a folder of files."""

import json
import pathlib
import sys

from prefect.cli.deploy._config import _load_deploy_configs_and_actions
from prefect.utilities.schema_tools import validate


class Silent:
    def print(self, *_args, **_kwargs):
        pass


def refusal(job_variables):
    """Why the server refuses them, as in prefect.server.api.validation."""
    try:
        validate(
            job_variables, template["variables"], raise_on_error=True, preprocess=True,
            ignore_required=True, allow_none_with_default=True,
        )
    except Exception as exc:
        return str(exc)
    return ""


template = json.loads(pathlib.Path(sys.argv[1]).read_text())
result = {}
for path in pathlib.Path(sys.argv[2]).iterdir():
    try:
        deployments, _ = _load_deploy_configs_and_actions(path, console=Silent())
    except Exception:  # prefect deploy ends with it
        deployments = []
    pools = [d.get("work_pool") or {} for d in deployments]
    refusals = [refusal(p.get("job_variables", {})) for p in pools]
    result[path.name] = {"deployments": len(deployments), "refusals": [r for r in refusals if r]}
json.dump(result, sys.stdout)
