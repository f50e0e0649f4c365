"""The block that holds a Northflank API token."""

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr


class Northflank(Block):
    """
    Northflank API credentials block for authenticating with the Northflank API.
    """

    # The program registers the same block type and schema, down to the
    # docstring above and this module's name. The version changes when the fields
    # do, and only then: each version is one more schema on the server.
    _block_type_name = "Northflank"
    _block_schema_version: ClassVar[str | None] = "1.1.0"
    _logo_url = "https://assets.northflank.com/Group_1410119476_2_b23babb7fd.png"
    _documentation_url = "https://github.com/northflank/prefect-northflank"

    api_token: SecretStr = Field(
        default=None, description="Northflank API token for authentication"
    )
    base_url: str = Field(
        default="https://api.northflank.com",
        description="Base URL for the Northflank API",
    )
    team_id: str | None = Field(
        default=None,
        description="Northflank team ID, needed only with an organisation's API token",
    )
