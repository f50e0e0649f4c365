"""Completes the package when a wheel is built.

WHEEL_PLATFORM names the platform as Go does, "linux/amd64"; the program for it
is taken from dist/bin. Without it the wheel is for any platform and holds no
program; `prefect-northflank` and `prefect worker start` say what to do then.
"""

import os
import re
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

# Wheel tags by platform. The program is static: on Linux one serves glibc and
# musl. Go 1.26 needs macOS 12.
TAGS = {
    "linux/amd64": "manylinux_2_17_x86_64.musllinux_1_1_x86_64",
    "linux/arm64": "manylinux_2_17_aarch64.musllinux_1_1_aarch64",
    "darwin/amd64": "macosx_12_0_x86_64",
    "darwin/arm64": "macosx_12_0_arm64",
    "windows/amd64": "win_amd64",
    "windows/arm64": "win_arm64",
}

PLATFORM = os.environ.get("WHEEL_PLATFORM", "")
PAGES = "https://github.com/northflank/prefect-northflank/blob/main/"


class MetadataHook(MetadataHookInterface):
    def update(self, metadata: dict) -> None:
        text = Path(self.root, "..", "README.md").read_text(encoding="utf-8")
        # What is relative on the repository's page leads nowhere on PyPI's.
        text = re.sub(r"\]\((?![a-z]+:|#)", "](" + PAGES, text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


class BuildHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict) -> None:
        if not PLATFORM:
            build_data["shared_scripts"] = {"no_program.py": "prefect-northflank"}
            return
        name = "prefect-northflank" + (".exe" if PLATFORM.startswith("windows/") else "")
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + TAGS[PLATFORM]
        program = Path(self.root, "..", "dist", "bin", PLATFORM, name)
        build_data["shared_scripts"] = {str(program): name}
