"""Writes templating.json: what Prefect itself makes of each case below.

    python testdata/templating.py > testdata/templating.json

Runs with the Prefect version that the client imitates. Values are JSON texts, so
that both sides read the very same numbers. Objects have sorted keys where they
are printed into text, since Go does not keep the order of keys.
"""

import asyncio
import json
import os
import sys
from types import SimpleNamespace

import httpx
import prefect
from prefect.exceptions import ObjectNotFound
from prefect.utilities.annotations import NotSet
from prefect.utilities.templating import apply_values
from prefect.workers.base import BaseJobConfiguration

ENV = {"HOME_OF_TEST": "/root", "EMPTY_OF_TEST": ""}

VALUES = """{"a": 1, "b": null, "t": true, "f": false, "l": [1, 2], "s": "text", "e": "", "num": 5.0,
 "d": {"k-1": "dash", "x": [{"y": "deep"}], "0": "zero", "list": ["p", "q"]}, "ph": "{{ a }}", "self": "{{ self }}",
 "nested": [null, true, "it's", "say \\"hi\\"", "both ' and \\"", {"k": [1.5, "v"]}],
 "uni": "é😀", "ctl": ["\\u0001\\n\\t\\\\", "\\u00a0\\u200b\\u2028", "\\ud83d\\ude00"],
 "exp": 1E5, "tiny": 0.00001, "edge": 0.0001, "big": 12345678901234567890123, "bigf": 1e16, "nine": 9999999999999998.0,
 "neg0": -0, "neg0f": -0.0, "inf": 1e400, "third": 0.333333333333333333333, "huge": 1e22, "list0": [], "obj0": {}}"""

# template, values (None: VALUES)
APPLY = [
    ("{{ a }}", None), ("{{a}}", None), ("{{   a\t}}", None), ("{{\na\n}}", None), ("{{ b }}", None), ("{{ t }}", None),
    ("{{ l }}", None), ("{{ d }}", None), ("{{ nope }}", None), ("{{ s }}", None), ("{{ e }}", None), ("{{ big }}", None),
    ("x{{ nope }}y", None), ("x{{ b }}", None), ("x{{ t }}{{ f }}", None), ("p {{ l }}", None), (" {{ a }}", None), ("{{ a }} ", None),
    ("{{ a }}{{ nope }}", None), ("{{ a }}{{ a }}", None), ("{{ s }}-{{ s }}", None),
    ("{{ d.x[0].y }}", None), ("{{ d.k-1 }}", None), ("{{ d.0 }}", None), ("{{ d.list.1 }}", None), ("{{ d.list[-1] }}", None),
    ("{{ d.list[2] }}", None), ("{{ d.list[-3] }}", None), ("{{ d.list.x }}", None), ("{{ s[0] }}", None), ("{{ s.-1 }}", None), ("{{ s[9] }}", None),
    ("{{ a.x }}", None), ("{{ b.x }}", None), ("{{ d. }}", None), ("{{ . }}", None), ("{{ d[x][0][y] }}", None), ("{{ d.list[0_1] }}", None),
    ("{{ d.list[99999999999999999999999] }}", None),
    ("{{ $HOME_OF_TEST }}", None), ("{{ $UNSET_OF_TEST }}", None), ("{{ $EMPTY_OF_TEST }}", None), ("a {{ $$HOME_OF_TEST }} b", None), ("{{ a }}{{ $HOME_OF_TEST }}", None),
    ("{{ prefect.blocks.secret.x }}", None), ("{{ a }}-{{ prefect.variables.v }}", None), ("{{ prefect.blocksx }}", None), ("{{ prefect.other }}x", None),
    ("{{ a | upper }}", None), ("{{ }}", None), ("{{ a b }}", None), ("{ { a } }", None), ("{{{ a }}}", None), ("{{{{ a }}}}", None), ("{{ a }", None), ("{{ a/b }}", None),
    ("{{ ph }}", None), ("x{{ ph }}", None), ("{{ self }}{{ self }}", None), ("{{ é }}", '{"é": "accent"}'), ("{{\u00a0a\u2003}}", None), ("{{ ３ }}", '{"x": 1}'),
    ("{{ list0 }}", None), ("{{ obj0 }}", None), ("_{{ list0 }}{{ obj0 }}", None),
    ("_{{ num }}", None), ("_{{ nested }}", None), ("_{{ uni }}", None), ("_{{ ctl }}", None), ("_{{ exp }}", None), ("_{{ tiny }}", None), ("_{{ edge }}", None),
    ("_{{ big }}", None), ("_{{ bigf }}", None), ("_{{ nine }}", None), ("_{{ neg0 }}", None), ("_{{ neg0f }}", None), ("_{{ inf }}", None), ("_{{ third }}", None), ("_{{ huge }}", None),
    ("_{{ d }}", '{"d": {"A": [{"b": null}], "z": 1.0}}'),
    ({"k": "{{ nope }}", "m": "{{ a }}", "{{ a }}": "{{ b }}"}, None), (["{{ nope }}", "{{ a }}", ["{{ nope }}"], {"x": "{{ nope }}"}], None),
    (5, None), (True, None), (None, None), ({}, None), ("", None), ("plain", None), ({"deep": [{"er": ["x{{ l }}", None, 1.5, False]}]}, None),
]

NORTHFLANK = {"api_token": "nf-secret", "base_url": "https://api.example"}
BLOCKS = {
    ("northflank", "creds"): NORTHFLANK, ("secret", "token"): {"value": "s3cret"}, ("json", "conf"): {"value": {"k": [{"z": "in"}], "n": 5}},
    ("string", "named"): {"value": {"value": "inner", "values": "plural"}}, ("docker", "reg"): {"url": "reg.example", "port": 5000, "tls": True, "none": None},
    ("string", "templated"): {"value": "{{ prefect.variables.region }} {{ a }}"},
}
IDS = {"7b0e4c1e-5c0e-4f29-9a6e-0a2b3c4d5e6f": NORTHFLANK}
VARIABLES = {"region": "europe", "count": 3, "list": [1, "a"], "flag": True, "nothing": None, "obj": {"k": "v"}, "chain": "{{ prefect.variables.region }}"}


def template(config, **properties):
    return {"job_configuration": config, "variables": {"type": "object", "properties": properties}}


PLAIN = template({"env": "{{ env }}", "image": "{{ image }}", "n": "{{ n }}", "fixed": "literal"},
                 env={"type": "object"}, image={"default": "img:1"}, n={"default": None})
WITH_ENV = template({"env": "{{ env }}"}, env={"default": {"A": "default", "B": "default"}})
LITERAL_ENV = template({"env": {"A": "literal", "L": "literal", "H": "{{ $HOME_OF_TEST }}"}, "x": "{{ x }}"}, env={"default": {"A": "default", "D": "{{ x }}"}}, x={"default": 7})
ONE = template({"v": "{{ v }}", "w": "{{ w }}"}, v={}, w={})

# name, template, deployment, flow run
CONFIGURATION = [
    ("nothing given", PLAIN, {}, {}),
    ("null job variables", PLAIN, None, None),
    ("deployment over default", PLAIN, {"image": "img:2"}, {}),
    ("flow run over deployment", PLAIN, {"image": "img:2", "n": 1}, {"image": "img:3"}),
    ("null overrides default", PLAIN, {"image": None}, {}),
    ("null of the flow run overrides", PLAIN, {"image": "img:2"}, {"image": None}),
    ("unknown variable", PLAIN, {"nonsense": 1}, {}),
    ("env of deployment", PLAIN, {"env": {"A": "1"}}, {}),
    ("env merges from flow run", PLAIN, {"env": {"A": "1", "B": "1"}}, {"env": {"B": "2", "C": None}}),
    ("env of flow run alone", PLAIN, {}, {"env": {"B": 2}}),
    ("env empty object", PLAIN, {"env": {}}, {"env": {"B": "2"}}),
    ("env default alone", WITH_ENV, {}, {}),
    ("env default merged", WITH_ENV, {"env": {"B": "dep", "C": True}}, {}),
    ("env default merged thrice", WITH_ENV, {"env": {"B": "dep", "C": "dep"}}, {"env": {"C": "run", "D": None}}),
    ("env null over default", WITH_ENV, {"env": None}, {}),
    ("env literal, default", LITERAL_ENV, {}, {}),
    ("env literal, default, given", LITERAL_ENV, {"env": {"L": "dep", "T": "{{ x }}", "H2": "{{ $HOME_OF_TEST }}"}}, {"env": {"A": "run"}, "x": 9}),
    ("placeholder in a value stays", ONE, {"v": "{{ w }}", "w": "{{ $HOME_OF_TEST }}"}, {}),
    ("dotted env", WITH_ENV, {"env.A": "dotted", "env.Z": 5}, {}),
    ("dotted under undotted", WITH_ENV, {"env.A": "dotted", "env.Z": "dotted", "env": {"A": "undotted"}}, {}),
    ("dotted of flow run, undotted of deployment", WITH_ENV, {"env": {"A": "undotted"}}, {"env.A": "dotted", "env.Q": "dotted"}),
    ("dotted deep", ONE, {"v.a.b.c": 1, "v.a.d": 2}, {"v.a.b.e": 3}),
    ("dotted deep merge", ONE, {"v.a.b": 1, "v": {"a": {"c": 2}, "x": 3}}, {}),
    ("dotted replaced by a scalar", ONE, {"v.a": 1, "v": "scalar"}, {}),
    ("dotted with brackets", ONE, {"v.a[b]": 1}, {}),
    ("dotted odd", ONE, {"v.": 1, "w..x": 2}, {}),
    ("block whole", ONE, {"v": "{{ prefect.blocks.northflank.creds }}"}, {}),
    ("block attribute", ONE, {"v": "{{ prefect.blocks.northflank.creds.api_token }}", "w": "Bearer {{ prefect.blocks.northflank.creds.api_token }}!"}, {}),
    ("block value unwrapped", ONE, {"v": "{{ prefect.blocks.secret.token }}", "w": "{{ prefect.blocks.secret.token.value }}"}, {}),
    ("block value path", ONE, {"v": "{{ prefect.blocks.json.conf.k[0].z }}", "w": "{{ prefect.blocks.json.conf.value.k[0] }}"}, {}),
    ("block number in text", ONE, {"v": "n={{ prefect.blocks.json.conf.n }}", "w": "{{ prefect.blocks.json.conf }}"}, {}),
    ("block path that starts with value", ONE, {"v": "{{ prefect.blocks.string.named.value }}", "w": "{{ prefect.blocks.string.named.values }}"}, {}),
    ("block scalars in text", ONE, {"v": "{{ prefect.blocks.docker.reg.url }}:{{ prefect.blocks.docker.reg.port }}", "w": "{{ prefect.blocks.docker.reg.tls }}/{{ prefect.blocks.docker.reg.none }}"}, {}),
    ("block object in text", ONE, {"v": "x{{ prefect.blocks.json.conf }}"}, {}),
    ("block missing", ONE, {"v": "{{ prefect.blocks.northflank.nope }}"}, {}),
    ("block path missing", ONE, {"v": "{{ prefect.blocks.northflank.creds.nope }}"}, {}),
    ("block named badly", ONE, {"v": "{{ prefect.blocks.northflank }}"}, {}),
    ("block with templates inside", ONE, {"v": "{{ prefect.blocks.string.templated }}"}, {}),
    ("block reference", ONE, {"v": {"$ref": {"block_document_id": "7b0e4c1e-5c0e-4f29-9a6e-0a2b3c4d5e6f"}}}, {}),
    ("block reference deep", ONE, {"v": [{"x": {"$ref": {"block_document_id": "7b0e4c1e-5c0e-4f29-9a6e-0a2b3c4d5e6f"}, "other": 1}}]}, {}),
    ("block reference missing", ONE, {"v": {"$ref": {"block_document_id": "00000000-0000-0000-0000-000000000000"}}}, {}),
    ("block reference empty", ONE, {"v": {"$ref": {}, "w": 1}}, {}),
    ("block in a pool default", template({"v": "{{ v }}"}, v={"default": {"$ref": {"block_document_id": "7b0e4c1e-5c0e-4f29-9a6e-0a2b3c4d5e6f"}}}), {}, {}),
    ("block in the template", template({"v": "{{ prefect.blocks.northflank.creds }}"}), {}, {}),
    ("variable whole", ONE, {"v": "{{ prefect.variables.count }}", "w": "{{ prefect.variables.obj }}"}, {}),
    ("variable in text", ONE, {"v": "{{ prefect.variables.region }}-{{ prefect.variables.count }}-{{ prefect.variables.flag }}-{{ prefect.variables.list }}"}, {}),
    ("variable missing", ONE, {"v": "{{ prefect.variables.nope }}", "w": "x{{ prefect.variables.nope }}y"}, {}),
    ("variable null", ONE, {"v": "{{ prefect.variables.nothing }}", "w": "{{ prefect.variables.nothing }}!"}, {}),
    ("variable in variable stays", ONE, {"v": "{{ prefect.variables.chain }}"}, {}),
    ("block and variable in one text", ONE, {"v": "{{ prefect.blocks.secret.token }}@{{ prefect.variables.region }}"}, {}),
    ("numbers keep their type", ONE, {"v": 5.0, "w": 12345678901234567890}, {}),
    ("properties missing", {"job_configuration": {"v": "{{ v }}"}, "variables": {}}, {"v": 1}, {}),
    ("job_configuration missing", {"variables": {}}, {}, {}),
    ("variables missing", {"job_configuration": {}}, {}, {}),
    ("default false, zero, empty", template({"a": "{{ a }}", "b": "{{ b }}", "c": "{{ c }}"}, a={"default": False}, b={"default": 0}, c={"default": ""}), {}, {}),
    ("env placeholder in the template", template({"v": "{{ $HOME_OF_TEST }}/x", "w": "{{ $UNSET_OF_TEST }}"}), {}, {}),
    ("env of the flow run is text", PLAIN, {"env": {"A": "1"}}, {"env": "text"}),
    ("nested configuration", template({"o": {"p": "{{ p }}", "q": ["{{ q }}", "{{ p }}"]}}, p={"default": "P"}), {}, {}),
]


class FakeClient:
    async def read_block_document_by_name(self, name, block_type_slug):
        return self._document(BLOCKS.get((block_type_slug, name)))

    async def read_block_document(self, block_document_id):
        return self._document(IDS.get(block_document_id))

    @staticmethod
    def _document(data):
        if data is None:
            response = httpx.Response(404, request=httpx.Request("GET", "http://x"))
            raise ObjectNotFound(http_exc=httpx.HTTPStatusError("404", request=response.request, response=response))
        return SimpleNamespace(data=json.loads(json.dumps(data)))

    async def read_variable_by_name(self, name):
        return SimpleNamespace(value=VARIABLES[name]) if name in VARIABLES else None

    async def read_flow(self, flow_id):
        return None


class Captured:
    """Stands for a configuration class and keeps what it would be made from."""

    _get_base_config_defaults = BaseJobConfiguration.__dict__["_get_base_config_defaults"]
    from_template_and_values = BaseJobConfiguration.__dict__["from_template_and_values"]
    resolve_for_flow_run = BaseJobConfiguration.__dict__["resolve_for_flow_run"]

    def __init__(self, **values):
        self.values = values

    def prepare_for_flow_run(self, **_):
        pass


def applied(template, values):
    result = apply_values(template, json.loads(VALUES if values is None else values))
    found = result is not NotSet
    return {"template": template, "values": values, "found": found, "result": result if found else None}


async def configured(name, template, deployment, flow_run):
    case = {"name": name, "template": template, "deployment": deployment, "flow_run": flow_run}
    copy = json.loads(json.dumps(case))
    try:
        result = await Captured.resolve_for_flow_run(
            flow_run=SimpleNamespace(job_variables=copy["flow_run"], deployment_id=None, flow_id=None),
            client=FakeClient(),
            work_pool=SimpleNamespace(base_job_template=copy["template"]),
            worker_name="w",
            deployment=SimpleNamespace(job_variables=copy["deployment"]),
        )
        return {**case, "result": result.values}
    except Exception as error:
        return {**case, "error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}


async def main():
    os.environ.update(ENV)
    os.environ.pop("UNSET_OF_TEST", None)
    golden = {
        "prefect": prefect.__version__,
        "values": VALUES,
        "env": ENV,
        "blocks": {f"{slug}/{name}": data for (slug, name), data in BLOCKS.items()},
        "blocks_by_id": IDS,
        "variables": VARIABLES,
        "apply": [applied(*case) for case in APPLY],
        "configuration": [await configured(*case) for case in CONFIGURATION],
    }
    json.dump(golden, sys.stdout, indent=1, ensure_ascii=True, allow_nan=False)
    print()


asyncio.run(main())
