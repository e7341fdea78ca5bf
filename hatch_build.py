"""Build hook: compiles proto/peerd/pb/*.proto into peerd/pb (never checked in)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent


def generate(root: Path = ROOT) -> list[Path]:
    """Write stubs, typed stubs and gRPC classes for every proto; return the files made."""
    import grpc_tools
    from grpc_tools import protoc

    source, target = root / "proto", root / "peerd" / "pb"
    target.mkdir(parents=True, exist_ok=True)
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    protos = sorted((source / "peerd" / "pb").glob("*.proto"))
    code = protoc.main(
        [
            "protoc",
            f"-I{source}",
            f"-I{well_known}",
            f"--python_out={root}",
            f"--pyi_out={root}",
            f"--grpc_python_out={root}",
            *map(str, protos),
        ]
    )
    if code:
        raise RuntimeError(f"protoc failed with exit code {code}")
    init = target / "__init__.py"
    init.write_text('"""Generated protobuf and gRPC stubs; the sources are in proto/peerd/pb."""\n')
    return sorted(target.glob("*.py*"))


class ProtoBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        del version, build_data
        if (Path(self.root) / "proto").is_dir():
            generate(Path(self.root))


if __name__ == "__main__":
    sys.stdout.write("\n".join(str(path.relative_to(ROOT)) for path in generate()) + "\n")
