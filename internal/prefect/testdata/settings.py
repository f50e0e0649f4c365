"""Writes settings.json: what Prefect and python-dotenv make of each case below.

    python testdata/settings.py > testdata/settings.json

Each settings case runs in a process of its own, in a folder with the given files
and HOME, since Prefect reads both at import. Values are written as Prefect would
print them, so that texts can be compared.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import dotenv
import prefect

PROFILES = """active = "mine"
[profiles.mine]
PREFECT_API_URL = "http://profile/api"
PREFECT_LOGGING_LEVEL = "DEBUG"
PREFECT_WORKER_QUERY_SECONDS = 15.5
PREFECT_CLIENT_MAX_RETRIES = 7
PREFECT_API_ENABLE_HTTP2 = true
[profiles.other]
PREFECT_API_URL = "http://other/api"
[profiles.empty]
"""

# name, environment, files below HOME (home/) and the working folder
SETTINGS = [
    ("nothing", {}, {}),
    ("environment", {"PREFECT_API_URL": "http://env/api", "PREFECT_NONSENSE": "x", "OTHER": "y"}, {}),
    ("environment in lower case", {"prefect_api_url": "http://env/api"}, {}),
    ("dotenv", {}, {".env": "PREFECT_API_URL=http://dotenv/api\nOTHER=1\nprefect_logging_level='ERROR'\n"}),
    ("prefect.toml", {}, {"prefect.toml": "home = '/h'\n[api]\nurl = 'http://toml/api'\nenable_http2 = true\n[worker]\nquery_seconds = 20.5\n[worker.webserver]\nport = 9000\n[server.ephemeral]\nenabled = false\n"}),
    ("custom headers as a table", {}, {"prefect.toml": "[client.custom_headers]\nX-Team = 'data'\n"}),
    ("extra codes as a list", {}, {"prefect.toml": "[client]\nretry_extra_codes = '500,404'\n"}),
    ("pyproject.toml", {}, {"pyproject.toml": "[project]\nname = 'x'\n[tool.prefect.api]\nurl = 'http://pyproject/api'\n[tool.other]\nurl = 'no'\n"}),
    ("profile", {}, {"home/.prefect/profiles.toml": PROFILES}),
    ("profile of the environment", {"PREFECT_PROFILE": "other"}, {"home/.prefect/profiles.toml": PROFILES}),
    ("profile that is empty", {"PREFECT_PROFILE": "empty"}, {"home/.prefect/profiles.toml": PROFILES}),
    ("profile unknown", {"PREFECT_PROFILE": "nope"}, {"home/.prefect/profiles.toml": PROFILES}),
    ("profile name in a dotenv is not used", {}, {".env": "PREFECT_PROFILE=other\n", "home/.prefect/profiles.toml": PROFILES}),
    ("profiles path of the environment", {"PREFECT_PROFILES_PATH": "p1.toml"}, {"p1.toml": PROFILES, "home/.prefect/profiles.toml": "active = 'x'\n[profiles.x]\n"}),
    ("profiles path of dotenv", {}, {".env": "PREFECT_PROFILES_PATH=p1.toml\n", "p1.toml": PROFILES, "prefect.toml": "profiles_path = 'p2.toml'\n"}),
    ("profiles path of prefect.toml", {}, {"p2.toml": PROFILES, "prefect.toml": "profiles_path = 'p2.toml'\n"}),
    ("profiles path of pyproject.toml", {}, {"p2.toml": PROFILES, "pyproject.toml": "[tool.prefect]\nprofiles_path = 'p2.toml'\n"}),
    ("profiles below PREFECT_HOME", {"PREFECT_HOME": "ph"}, {"ph/profiles.toml": PROFILES}),
    ("alias", {"PREFECT_DEFAULT_WORK_POOL_NAME": "p", "PREFECT_LOGGING_SETTINGS_PATH": "l.yml"}, {}),
    ("alias over the name in a lower source", {"PREFECT_TASK_DEFAULT_RETRIES": "3"}, {"prefect.toml": "[tasks]\ndefault_retries = 4\n"}),
    ("empty counts as set", {"PREFECT_API_URL": ""}, {"home/.prefect/profiles.toml": PROFILES}),
    ("all at once", {"PREFECT_API_URL": "http://env/api"}, {
        ".env": "PREFECT_API_URL=http://dotenv/api\nPREFECT_API_KEY=dotenv\n",
        "prefect.toml": "[api]\nurl = 'http://toml/api'\nkey = 'toml'\n[client]\nmax_retries = 1\n",
        "pyproject.toml": "[tool.prefect.api]\nkey = 'pyproject'\n[tool.prefect.client]\nmax_retries = 2\ncsrf_support_enabled = false\n",
        "home/.prefect/profiles.toml": PROFILES + "[profiles.all]\nPREFECT_CLIENT_CSRF_SUPPORT_ENABLED = true\nPREFECT_UI_URL = 'http://ui'\n",
    }),
    ("prefect.toml broken", {}, {"prefect.toml": "[api]\nurl = \n"}),
]

DOTENV = [
    "A=1\nB=2\n", "A = 1 \n", "export A=1\nexport  B=2", "# comment\nA=1 # tail\nB=1#no\nC= # empty\nD=#hash\n", "A='x y'\nB=\"x\\ty\\\"z\"\nC='it\\'s \\n'\n",
    "A=\"two\nlines\"\nB=1\n", "A\nB=\nC=\"\"\n", "'A'=1\n", "A=$HOME\nB=${HOME_OF_TEST}\nC=${NOPE:-fallback}\nD='${A}-${NOPE}'\n", "A=pnu_a$bc\nB=a${b\n",
    "A=1\nA=2\nB=${A}\n", "\ufeffA=1\r\nB=2\r\n", "good=1\n=bad\nbad line here\nA='open\nB=2\n", "A=\"x\"y\nB=3\n", "A=x\\ny\n", "  A=1\n\n\n\tB=2", "A=é😀\n", "A==1\nB=a=b\n", "", "\n\n", "A=\"\\\\\"\nB='\\\\'\n",
    "A=1 \v# x\n",
]

SHOW = """
import json, warnings
warnings.simplefilter("ignore")
from prefect.settings import get_current_settings
print(json.dumps(get_current_settings().to_environment_variables(exclude_unset=True)))
"""


def settings(name, environ, files):
    with tempfile.TemporaryDirectory() as folder:
        for path, content in files.items():
            target = Path(folder, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
        Path(folder, "home").mkdir(exist_ok=True)
        run = subprocess.run(
            [sys.executable, "-c", SHOW], cwd=folder, capture_output=True, text=True,
            env={"HOME": str(Path(folder, "home")), "PATH": os.environ["PATH"], **environ},
        )
        case = {"name": name, "environ": environ, "files": files}
        if run.returncode != 0:
            return {**case, "fails": True}
        return {**case, "result": json.loads(run.stdout.splitlines()[-1])}


def dotenv_case(text):
    os.environ["HOME_OF_TEST"] = "/root"
    os.environ.pop("NOPE", None)
    values = dotenv.dotenv_values(stream=io.StringIO(text, newline=""))
    return {"text": text, "result": {key: value for key, value in values.items() if value is not None}}


json.dump(
    {"prefect": prefect.__version__, "settings": [settings(*case) for case in SETTINGS], "dotenv": [dotenv_case(text) for text in DOTENV]},
    sys.stdout, indent=1, ensure_ascii=True,
)
print()
