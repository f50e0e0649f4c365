"""The block has the fields that the program registers and that 1.0.1 saved."""

import json
from pathlib import Path

import pytest
from prefect.blocks.core import Block
from prefect.utilities.dispatch import lookup_type
from pydantic import SecretStr

from prefect_northflank import Northflank

# What the program registers: internal/jobspec keeps this file.
PROGRAM_FIELDS = Path(__file__, "../../../internal/jobspec/testdata/block-schema.json").resolve()


def without_position(fields):
    """Fields as Prefect before 3.6.25 has them; it did not number them."""
    for field in fields["properties"].values():
        field.pop("position", None)
    return fields


def test_fields_are_those_of_the_program():
    program = json.loads(PROGRAM_FIELDS.read_text())
    schema = Northflank._to_block_schema()
    ours = schema.fields
    if "position" not in ours["properties"]["api_token"]:
        program, ours = without_position(program), without_position(ours)
    assert list(ours["properties"]) == list(program["properties"])
    assert ours == program
    # Prefect tells schemas apart by this.
    assert schema.checksum == Block._calculate_schema_checksum(program)


@pytest.mark.parametrize(
    ("saved", "want"),
    [
        pytest.param(
            {"api_token": "t", "base_url": "https://nf.example"},
            ("t", "https://nf.example", None),
            id="of 1.0.1",
        ),
        pytest.param(
            {"api_token": "t", "base_url": "https://nf.example", "team_id": "team"},
            ("t", "https://nf.example", "team"),
            id="with a team",
        ),
        pytest.param(
            {"api_token": "t"},
            ("t", "https://api.northflank.com", None),
            id="token alone",
        ),
    ],
)
def test_documents(saved, want):
    block = Northflank.model_validate(saved)
    token = block.api_token.get_secret_value()
    assert (token, block.base_url, block.team_id) == want


def test_token_is_not_shown():
    block = Northflank(api_token=SecretStr("planted-token"))
    assert "planted-token" not in f"{block} {block!r}"


def test_prefect_finds_the_block():
    assert lookup_type(Block, "northflank") is Northflank
