#!python
"""The command prefect-northflank of a wheel that holds no program."""

from prefect_northflank._program import main

main()
