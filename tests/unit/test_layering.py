"""The house has floors: a module imports only from floors below its own. Read from the source by
`ast`, so that an import inside a function or under TYPE_CHECKING counts like any other.
"""

from __future__ import annotations

import ast
import graphlib
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]

# From the ground up. Parts on one floor never import each other, except on the ground floor, where
# they may, without a circle. A new part of `peerd` must be given its floor here.
FLOORS: tuple[tuple[str, frozenset[str]], ...] = (
    (
        "0 names and settings",
        frozenset(
            {
                "peerd",  # the package itself: its version
                "clock",
                "config",
                "dataset",
                "errors",
                "layout",
                "pb",
                "presets",
                "reading",
                "settings",
                "source",
                "status",
                "trainerproto",
                "types",
                "web",
                "validation",
                "wording",
            }
        ),
    ),
    ("1 cores", frozenset({"sphinx", "mix", "learning", "training", "observe", "store", "host"})),
    ("2 who there is", frozenset({"membership"})),
    ("3 messages", frozenset({"addressing", "delivery", "samemodel"})),
    ("4 packets", frozenset({"link", "relay"})),
    (
        "5 parts of the node",
        frozenset(
            {
                "backup",
                "draining",
                "enrolment",
                "epochs",
                "keeping",
                "mixing",
                "posting",
                "reconfiguring",
                "sim",
                "tracing",
            }
        ),
    ),
    ("6 whom and what it knows", frozenset({"members", "participation", "presence"})),
    ("7 what the node says, and what of it changes", frozenset({"adjusting", "report"})),
    ("8 what it can be told to do", frozenset({"commands"})),
    ("9 the node", frozenset({"node"})),
    ("9 control", frozenset({"control"})),
    ("10 the daemon", frozenset({"daemon"})),
    ("11 the command line", frozenset({"__main__", "probe"})),
)
HEIGHT = {part: height for height, (_, parts) in enumerate(FLOORS) for part in parts}

# `peerctl` speaks to daemons by their API; these few must not be written twice.
CTL_MAY_IMPORT = frozenset(
    {
        "peerd",
        "clock",
        "pb",
        "errors",
        "types",
        "config",
        "membership",
        "presets",
        "reading",
        "settings",
        "validation",
        "web",
    }
)
# The experiments run the cores themselves, on a virtual clock, and know how long a cell is.
EXPERIMENT_MAY_IMPORT = CTL_MAY_IMPORT | {"sim", "mix", "relay", "sphinx", "link"}
# This one runs rounds without a network, on fragments of the size that packets have.
LINKING_MAY_IMPORT = CTL_MAY_IMPORT | {"learning", "delivery", "sphinx"}

TRAINING_ONLY = frozenset({"torch", "torchvision", "sklearn", "scipy", "dp_accounting"})

# Cores that are given time, randomness and bytes, and so run on a virtual clock.
SANS_IO = ("peerd.sphinx", "peerd.mix", "peerd.delivery", "peerd.relay.mixnet", "peerd.sim")
IO_MODULES = frozenset({"asyncio", "uvloop", "socket", "ssl", "threading", "subprocess", "time"})


class Import(NamedTuple):
    module: str
    """Dotted and absolute, as written."""
    names: tuple[str, ...] = ()
    """What `from module import ...` takes."""

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def imports(source: str) -> Iterator[Import]:
    told: set[ast.AST] = set()
    """Calls of import_module that say from which package: one of `import_module(f"package.{module}")`."""
    for node in ast.walk(ast.parse(source)):  # outer nodes first
        if isinstance(node, ast.Call) and (package := _package(node)):
            told.add(node.func)
            yield Import(package)
        elif node in told:
            continue
        elif isinstance(node, ast.Import):
            yield from (Import(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            yield Import(name, tuple(alias.name for alias in node.names))
        elif isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            if name in ("__import__", "import_module"):
                yield Import(f"{name}()")


def _package(call: ast.Call) -> str | None:
    """That a module is imported from whose name is known at runtime alone."""
    match call:
        case ast.Call(
            func=ast.Attribute(attr="import_module"),
            args=[ast.JoinedStr(values=[ast.Constant(value=str(start)), *_])],
        ) if start.endswith("."):
            return start.rstrip(".")
    return None


def parts(found: Import) -> set[str]:
    """The parts of peerd that an import reaches; `from peerd import mix` reaches `mix`."""
    if found.top != "peerd":
        return set()
    below = found.module.split(".")[1:]
    if below:
        return {below[0]}
    return {name if name in HEIGHT else "peerd" for name in found.names} or {"peerd"}


def part_of(module: str) -> str:
    """`peerd.mix.port` belongs to `mix`."""
    return (*module.split("."), "peerd")[1]


def broken_rules(module: str, source: str) -> Iterator[str]:
    """What a module imports against the rules, one line each."""
    for found in imports(source):
        if found.module.startswith("."):
            yield f"{module}: relative import of {found.module}"
        elif found.module.endswith("()"):
            yield f"{module}: {found.module} hides what is imported"
        elif found.top in TRAINING_ONLY and not f"{module}.".startswith("peerd.training."):
            yield f"{module}: only peerd.training imports {found.top}"
        elif found.top == "aiohttp" and not f"{module}.".startswith("ctl.dashboard."):
            yield f"{module}: only the dashboard imports {found.top}"
        elif found.top in IO_MODULES and f"{module}.".startswith(tuple(f"{s}." for s in SANS_IO)):
            yield f"{module}: a sans-IO core imports {found.module}"
        elif found.top == "ctl" and not f"{module}.".startswith("ctl."):
            yield f"{module}: the daemon imports {found.module}"
        for part in sorted(parts(found)):
            if not may_import(module, part):
                yield f"{module}: imports {found.module} ({part})"


def may_import(module: str, part: str) -> bool:
    if f"{module}.".startswith("ctl.experiment."):
        return part in EXPERIMENT_MAY_IMPORT
    if f"{module}.".startswith("ctl.linking."):
        return part in LINKING_MAY_IMPORT
    if f"{module}.".startswith("ctl."):
        return part in CTL_MAY_IMPORT
    mine = part_of(module)
    if mine == part or HEIGHT[mine] == HEIGHT.get(part) == 0:
        return True
    return HEIGHT.get(part, len(FLOORS)) < HEIGHT[mine]


@pytest.fixture(scope="module")
def house() -> Mapping[str, str]:
    """Source by module name; generated stubs are nobody's handwriting and are left out."""
    found = {}
    for path in sorted([*ROOT.glob("peerd/**/*.py"), *ROOT.glob("ctl/**/*.py")]):
        relative = path.relative_to(ROOT)
        if relative.parts[:2] != ("peerd", "pb"):
            name = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
            found[name] = path.read_text(encoding="utf-8")
    assert len(found) > 50
    return found


def test_every_part_has_a_floor_and_every_floor_its_parts(house: Mapping[str, str]) -> None:
    standing = {part_of(module) for module in house if f"{module}.".startswith("peerd.")} | {"pb"}
    assert standing == set(HEIGHT)
    assert sum(len(parts) for _, parts in FLOORS) == len(HEIGHT)  # nothing on two floors


def test_imports_go_down(house: Mapping[str, str]) -> None:
    assert [rule for module, text in house.items() for rule in broken_rules(module, text)] == []


def test_the_ground_floor_has_no_circle(house: Mapping[str, str]) -> None:
    ground = FLOORS[0][1]
    graph = {
        part: {reached for found in imports(house.get(f"peerd.{part}", "")) for reached in parts(found)}
        - {part}
        for part in ground
    }
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert set(order) == ground


def test_every_sans_io_core_exists(house: Mapping[str, str]) -> None:
    assert [core for core in SANS_IO if core not in house] == []


def test_what_is_imported_is_declared(house: Mapping[str, str]) -> None:
    """Third-party imports of the product stand in pyproject.toml; `train` is for training alone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = declared(project["dependencies"])
    training = base | declared(project["optional-dependencies"]["train"])
    experiment = base | declared(project["optional-dependencies"]["experiment"])
    provided_by = packages_distributions()
    missing = []
    for module, text in house.items():
        allowed = training if f"{module}.".startswith("peerd.training.") else base
        allowed = experiment if module == "ctl.experiment.plot" else allowed
        for top in {found.top for found in imports(text)} - sys.stdlib_module_names:
            names = {canonical(name) for name in provided_by.get(top, [])}
            if top not in ("peerd", "ctl") and not names & allowed:
                missing.append(f"{module}: {top}")
    assert missing == []


def declared(requirements: list[str]) -> set[str]:
    return {canonical(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]) for line in requirements}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("peerd.mix.port", "from peerd.sphinx import wrap"),
        ("peerd.mix.port", "import peerd.membership.view"),
        ("peerd.mix.port", "from peerd import node"),
        ("peerd.mix.port", "from peerd.basement import things"),
        ("peerd.mix.port", "from .sampling import draw_exponential"),
        ("peerd.mix.port", "import asyncio"),
        ("peerd.mix.port", "from time import monotonic"),
        ("peerd.mix", "import threading as t"),
        ("peerd.relay.mixnet", "import ssl"),
        ("peerd.relay.pump", "from peerd.link import LinkTable"),
        ("peerd.config", "from peerd.store import files"),
        ("peerd.store.files", "from ctl import main"),
        ("peerd.node", "from peerd.daemon import serve"),
        ("peerd.node", "import torch"),
        ("peerd.learning.run", "def late():\n    import torch.nn as nn"),
        ("peerd.learning.run", "if TYPE_CHECKING:\n    from sklearn.datasets import load_digits"),
        ("peerd.learning.run", "from peerd.training import loop"),
        ("peerd.training.loop", "from peerd.learning import Run"),
        ("peerd.control.server", "import importlib\nimportlib.import_module('torch')"),
        ("peerd.control.server", "__import__('torch')"),
        ("peerd.control.server", "import importlib\nimportlib.import_module(f'torch.{name}')"),
        ("peerd.control.server", "import importlib\nimportlib.import_module(f'ctl.commands.{name}')"),
        ("ctl.app", "import importlib\nimportlib.import_module(f'{name}.commands')"),
        ("ctl.app", "import importlib\nimportlib.import_module(f'peerd.node.{name}')"),
        ("ctl.main", "from peerd.node import Node"),
        ("ctl.main", "from peerd import node"),
        ("ctl.main", "from peerd.sim import World"),
        ("ctl.experiment.workload", "from peerd.node import Node"),
        ("ctl.linking.learners", "from peerd.training import cohort"),
        ("ctl.defaults", "from peerd.learning.catalog import DEFAULTS"),
        ("ctl.main", "import torch"),
        ("ctl.main", "from aiohttp import web"),
        ("peerd.observe.endpoint", "import aiohttp"),
    ],
)
def test_what_is_against_the_rules_is_found(module: str, source: str) -> None:
    assert len(list(broken_rules(module, source))) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("peerd.mix.port", "from peerd.types import DropReason\nfrom peerd.mix.cover import x"),
        ("peerd.mix.port", "import random, heapq\nfrom peerd import config"),
        ("peerd.config", "from peerd.errors import PeerdError\nfrom peerd import types"),
        ("peerd.relay.pump", "import asyncio\nfrom peerd.relay.mixnet import Mixnet"),
        ("peerd.training.loop", "import torch\nfrom sklearn.datasets import load_digits"),
        ("ctl.experiment.workload", "from peerd.sim import World\nfrom peerd.relay.trace import Left"),
        ("ctl.linking.play", "from peerd.learning import Rounds\nfrom peerd.delivery import MessageCodec"),
        ("peerd.__main__", "from peerd.daemon import serve\nfrom peerd import __version__"),
        ("ctl.app", "import importlib\nimportlib.import_module(f'ctl.commands.{name}')"),
        ("ctl.main", "from peerd import __version__\nfrom peerd.pb import node_pb2\nimport grpc"),
        ("ctl.main", "from ctl.render import table\nfrom peerd.membership import Authority"),
    ],
)
def test_what_is_within_the_rules_is_not(module: str, source: str) -> None:
    assert list(broken_rules(module, source)) == []
