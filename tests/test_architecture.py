"""The rules of docs/architecture.md that the source itself shows: layers, ownership, size, public names.

Each rule is a function from one module to its offences, tried on an offender before it is trusted with the package.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

import httpcore

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 400

# A module may import from its own layer and from lower ones. What is not named here is flat: layer 0.
LAYERS = {"protocols": 1, "pool": 2, "adapters": 3, "compat": 3, "sync": 3, "cli": 3, "testing": 3, "__main__": 3}
TOP = 4  # httpcore/__init__.py: imports all, imported by none

_HTTP2 = {
    "httpcore.protocols.http2",
    "httpcore.protocols.http2_fields",
    "httpcore.protocols.http2_frames",
    "httpcore.protocols.http2_receiver",
    "httpcore.protocols.http2_sender",
    "httpcore.protocols.http2_sending",
    "httpcore.protocols.http2_settings",
    "httpcore.protocols.http2_stream",
    "httpcore.protocols.http2_windows",
}
# Parsers of the wire, and the only modules that know them, beside httpcore.testing, whose peers they drive.
WIRE_LIBRARIES = {
    "h11": {"httpcore.protocols.h11_codec"},
    "h2": _HTTP2,
    "hpack": _HTTP2,
    "hyperframe": set(),
    "httptools": {"httpcore.protocols.llhttp_codec"},
}

# Libraries that are adapted to: each is known to its own adapter alone, so that nobody else needs it.
ADAPTED_LIBRARIES = {
    "httpx": {"httpcore.adapters.httpx"},
    "httpx2": {"httpcore.adapters.httpx2"},
    "requests": {"httpcore.adapters.requests", "httpcore.adapters._requests_response"},
    "urllib3": {"httpcore.adapters.requests", "httpcore.adapters._requests_response"},
}

# Rules W1, W2 and R1: who may steer a transport.
TRANSPORT_OWNERS = {
    "httpcore.protocols.base",
    "httpcore.protocols.flow",
    "httpcore.protocols.handshake",
    "httpcore.tls_begin",
    "httpcore.tls_transport",
    "httpcore.upgraded",  # flat, because the callback contract names it
}
TRANSPORT_CALLS = {
    "abort",
    "close",
    "pause_reading",
    "resume_reading",
    "set_protocol",
    "write",
    "write_eof",
    "writelines",
}

STREAMS = {"StreamReader", "StreamWriter", "open_connection", "open_unix_connection", "anyio"}
UNFINISHED = re.compile(r"\bNotImplementedError\b|\bTODO\b|\bFIXME\b|\bXXX\b|pragma: no (?:cover|branch)")


@dataclass(frozen=True)
class Module:
    """One source file of the package."""

    name: str
    is_package: bool
    source: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def is_testing(self) -> bool:
        return self.name.split(".")[:2] == ["httpcore", "testing"]


def load(path: Path) -> Module:
    parts = path.relative_to(ROOT).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    return Module(".".join(parts[:-1] if is_package else parts), is_package, path.read_text(encoding="utf-8"))


MODULES = [load(path) for path in sorted((ROOT / "httpcore").rglob("*.py"))]
NAMES = {module.name for module in MODULES}


def layer(name: str) -> int:
    parts = name.split(".")
    return TOP if len(parts) == 1 else LAYERS.get(parts[1], 0)


def imported(module: Module, names: set[str]) -> Iterator[tuple[int, str]]:
    """Yields (line, dotted name) of every import in the module, wherever it stands, with relative ones resolved."""
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *base.split(".")] if base else above)
            for alias in node.names:
                # `from package import name` imports a submodule where there is one of that name.
                submodule = f"{base}.{alias.name}"
                yield node.lineno, submodule if submodule in names else base


def upward_imports(module: Module) -> Iterator[str]:
    for line, name in imported(module, NAMES):
        if name.split(".")[0] == "httpcore" and layer(name) > layer(module.name):
            yield f"line {line}: imports {name} from above"


def misplaced_wire_libraries(module: Module) -> Iterator[str]:
    for line, name in imported(module, NAMES):
        owners = WIRE_LIBRARIES.get(name.split(".")[0])
        if owners is not None and module.name not in owners and not module.is_testing:
            yield f"line {line}: imports {name}"


def misplaced_adapters(module: Module) -> Iterator[str]:
    for line, name in imported(module, NAMES):
        owners = ADAPTED_LIBRARIES.get(name.split(".")[0])
        if owners is not None and module.name not in owners:
            yield f"line {line}: imports {name}"
        adapter = re.fullmatch(r"httpcore\.adapters\.(?!_)\w+", name)  # the others are parts, which need no library
        if adapter is not None and not module.name.startswith("httpcore.adapters."):
            yield f"line {line}: imports {name}, which is for users to import"


def uses_of_streams(module: Module) -> Iterator[str]:
    for line, name in imported(module, NAMES):
        if name.split(".")[0] in STREAMS:
            yield f"line {line}: imports {name}"
    for node in ast.walk(module.tree):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if name in STREAMS:
            yield f"line {getattr(node, 'lineno', 0)}: uses {name}"


def steered_transports(module: Module) -> Iterator[str]:
    if module.name in TRANSPORT_OWNERS or module.is_testing:
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and node.attr in TRANSPORT_CALLS:
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
            if name.lstrip("_") == "transport":
                yield f"line {node.lineno}: uses {name}.{node.attr}"


def too_long(module: Module) -> Iterator[str]:
    lines = len(module.source.splitlines())
    if lines > MAX_LINES:
        yield f"{lines} lines, at most {MAX_LINES}"


def missing_module_docstring(module: Module) -> Iterator[str]:
    if not ast.get_docstring(module.tree):
        yield "no module docstring"


def unfinished(module: Module) -> Iterator[str]:
    for number, line in enumerate(module.source.splitlines(), 1):
        if found := UNFINISHED.search(line):
            yield f"line {number}: {found.group()}"


def mentions_any(annotation: ast.expr | None) -> bool:
    if annotation is None:
        return False
    for node in ast.walk(annotation):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.search(r"\bAny\b", node.value):
                return True
        elif (isinstance(node, ast.Name) and node.id == "Any") or (
            isinstance(node, ast.Attribute) and node.attr == "Any"
        ):
            return True
    return False


def is_public(name: str) -> bool:
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def public_any(module: Module) -> Iterator[str]:
    yield from _public_any(module.tree.body)


def _public_any(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef) and is_public(node.name):
            yield from _public_any(node.body)
        elif isinstance(node, ast.If | ast.Try):
            yield from _public_any([*node.body, *node.orelse])
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and is_public(node.target.id):
            if mentions_any(node.annotation):
                yield f"line {node.lineno}: {node.target.id} is annotated with Any"
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_public(node.name):
            arguments = node.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
            annotations = [node.returns, *(argument.annotation for argument in every if argument is not None)]
            if any(mentions_any(annotation) for annotation in annotations):
                yield f"line {node.lineno}: {node.name}() has Any in its signature"


Rule = Callable[[Module], Iterator[str]]
RULES_AND_OFFENDERS: list[tuple[Rule, str, str]] = [
    (
        upward_imports,
        "httpcore.handlers",
        "if TYPE_CHECKING:\n    import httpcore.pool",
    ),
    (upward_imports, "httpcore.urls", "def f():\n    from .protocols import base"),
    (upward_imports, "httpcore.protocols.http11", "from ..pool.slots import Slot"),
    (upward_imports, "httpcore.pool.slots", "from httpcore import Request"),
    (upward_imports, "httpcore.pool.slots", "from httpcore.testing import MemoryTransport"),
    (misplaced_wire_libraries, "httpcore.pool.slots", "from h11 import Connection"),
    (misplaced_wire_libraries, "httpcore.protocols.h11_codec", "import h2.connection"),
    (misplaced_adapters, "httpcore.pool.slots", "def f():\n    import httpx"),
    (misplaced_adapters, "httpcore.adapters._httpx", "from httpx2 import Client"),
    (misplaced_adapters, "httpcore", "import httpcore.adapters.httpx2"),
    (uses_of_streams, "httpcore.pool.connector", "import asyncio\nasyncio.open_connection"),
    (uses_of_streams, "httpcore.pool.connector", "from asyncio import StreamReader\nStreamReader()"),
    (uses_of_streams, "httpcore.pool.connector", "import anyio.abc"),
    (steered_transports, "httpcore.protocols.http11", "self._transport.write(b'')"),
    (steered_transports, "httpcore.pool.connector", "close = transport.close"),
    (too_long, "httpcore.urls", "pass\n" * (MAX_LINES + 1)),
    (missing_module_docstring, "httpcore.urls", "import ssl"),
    (unfinished, "httpcore.urls", "raise NotImplementedError"),
    (unfinished, "httpcore.urls", "pass  # pragma: no cover"),
    (public_any, "httpcore.urls", "class A:\n    def __init__(self, *args: list[Any]): ..."),
    (public_any, "httpcore.urls", "async def f() -> 'dict[str, typing.Any]': ..."),
    (public_any, "httpcore.urls", "class A:\n    field: typing.Any = None"),
]
RULES = list(dict.fromkeys(rule for rule, _, _ in RULES_AND_OFFENDERS))


@pytest.mark.parametrize(("rule", "name", "source"), RULES_AND_OFFENDERS)
def test_rule_finds_an_offender(rule: Rule, name: str, source: str) -> None:
    assert list(rule(Module(name, False, source)))


@pytest.mark.parametrize(
    ("rule", "name", "source"),
    [
        (upward_imports, "httpcore.pool.slots", "from ..protocols import base\nfrom .. import urls\nimport ssl"),
        (upward_imports, "httpcore.sync", "from httpcore.pool import connection_pool"),
        (misplaced_wire_libraries, "httpcore.protocols.h11_codec", "import h11"),
        (misplaced_wire_libraries, "httpcore.testing.peer", "import h11, h2.connection"),
        (misplaced_adapters, "httpcore.adapters.httpx", "import httpx\nfrom httpcore.adapters import _httpx"),
        (misplaced_adapters, "httpcore.compat.pools", "from httpcore.adapters import _httpx"),
        (steered_transports, "httpcore.protocols.base", "self._transport.write(b'')"),
        (steered_transports, "httpcore.pool.connector", "transport.get_extra_info('peername'); file.close()"),
        (public_any, "httpcore.urls", "def _f(x: Any) -> Any: ...\nclass _A:\n    def g(self) -> Any: ..."),
    ],
)
def test_rule_leaves_the_lawful_alone(rule: Rule, name: str, source: str) -> None:
    assert list(rule(Module(name, False, source))) == []


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_module_keeps_the_rule(module: Module, rule: Rule) -> None:
    assert list(rule(module)) == []


def test_imports_have_no_cycle() -> None:
    graph = {module.name: {name for _, name in runtime_imports(module)} & NAMES for module in MODULES}
    while leaves := [name for name, wanted in graph.items() if not wanted & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert graph == {}


def runtime_imports(module: Module) -> Iterator[tuple[int, str]]:
    """Yields what importing the module imports: nothing under TYPE_CHECKING or in a function."""

    class AtImport(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.stmt:
            return ast.Pass() if "TYPE_CHECKING" in ast.dump(node.test) else node

        def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.stmt:
            return ast.Pass()

        def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.stmt:
            return ast.Pass()

    source = ast.unparse(AtImport().visit(module.tree))
    yield from imported(Module(module.name, module.is_package, source), NAMES)


@pytest.mark.parametrize("folder", ["examples", "benchmarks"])
def test_nothing_is_left_unfinished_beside_the_package(folder: str) -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / folder).rglob("*.py"))}
    assert [str(path) for path, source in sources.items() if UNFINISHED.search(source)] == []


def test_every_name_in_all_exists_once() -> None:
    assert len(httpcore.__all__) == len(set(httpcore.__all__))
    assert [name for name in httpcore.__all__ if not hasattr(httpcore, name)] == []


def test_every_public_name_of_the_package_is_in_all() -> None:
    public = {
        name
        for name, value in vars(httpcore).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }
    assert public <= set(httpcore.__all__)


def test_every_error_is_a_public_name_of_the_package() -> None:
    exceptions = importlib.import_module("httpcore.exceptions")
    errors = {
        name
        for name, value in vars(exceptions).items()
        if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == exceptions.__name__
    }
    assert errors
    assert errors <= set(httpcore.__all__)


# Where users import from: the package, and what they import beside it by name.
PUBLIC_MODULES = ["httpcore", *sorted(n for n in NAMES if layer(n) == LAYERS["sync"] and n.count(".") == 1)]


def undocumented(module: ModuleType) -> Iterator[str]:
    """Yields the public methods of the classes the module offers that have no docstring, not even an inherited one."""
    for name in getattr(module, "__all__", ()):
        cls = getattr(module, name)
        if inspect.isclass(cls) and cls.__module__.split(".")[0] == "httpcore":
            for attribute, member in vars(cls).items():
                function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
                documentable = inspect.isfunction(function) or isinstance(member, property)
                if documentable and not attribute.startswith("_") and not described(cls, attribute, function):
                    yield f"{name}.{attribute}"


def described(cls: type, attribute: str, member: object) -> bool:
    # inspect follows a method's qualified name to its bases; a property or a generated method it cannot follow.
    inherited = (vars(base)[attribute] for base in cls.__mro__ if attribute in vars(base))
    return any(inspect.getdoc(candidate) for candidate in (member, *inherited))


def test_undocumented_methods_are_found() -> None:
    class Offender:
        def method(self) -> None: ...

        @property
        def inherited(self) -> None:
            """Documented."""

    class Heir(Offender):
        @property
        def inherited(self) -> None: ...

    module = ModuleType("offender")
    Offender.__module__ = Heir.__module__ = "httpcore.offender"
    vars(module).update(__all__=["Offender", "Heir"], Offender=Offender, Heir=Heir)
    assert list(undocumented(module)) == ["Offender.method"]


@pytest.mark.parametrize("name", [name for name in PUBLIC_MODULES if not name.endswith("__main__")])
def test_every_public_method_is_documented(name: str) -> None:
    assert list(undocumented(importlib.import_module(name))) == []
