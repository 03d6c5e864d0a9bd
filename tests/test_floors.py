"""A lower floor never imports a higher one, nothing goes in circles, and aiolimiter has one door."""

import ast
import re
from pathlib import Path

import pytest

import profilekit

ROOT = Path(profilekit.__file__).parent

FLOORS = {
    0: ["_printable", "errors", "rate", "checks", "jsontext", "fields", "locking", "secret", "stdio"],
    1: ["request", "outcome", "observer"],
    2: [
        "vendors",
        "engine.wire",
        "engine.verdict",
        "engine.departures",
        "engine.limiter",
        "engine.local",
        "engine.quota",
        "engine.retry",
        "engine.watch",
        "engine.transport",
        "engine.proxy",
        "engine.stats",
        "engine.answer",
        "engine.heap",
        "engine.deadlines",
        "engine.line",
        "engine.share",
        "engine.breaker",
        "engine.compression",
        "engine.identity",
        "engine.callbacks",
        "engine.cache",
        "engine.reads",
        "engine",
    ],
    3: [
        "engine.session",
        "engine.direct",
        "engine.connection",
        "engine.lane",
        "engine.sender",
        "engine.fence",
        "engine.lanes",
        "engine.pair",
        "engine.selection",
        "accounts",
        "shared",
    ],
    4: ["engine.fanout", "client", "_api"],
    5: ["bulk", "live", "otel", "outbox", "ray", "simulator", "pytest_plugin"],
    6: ["cli", "__main__"],
}
# Imported where they are needed, so that whoever does not need them need not have them.
EXTRAS = {"pyarrow", "ray", "redis", "zstandard"}

# The package itself shows what the floors hold; nobody inside imports it.
PUBLIC = "__init__"


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def floor_of(module):
    while module:
        for floor, modules in FLOORS.items():
            if module in modules:
                return floor
        module = module.rpartition(".")[0]
    return None


def imports(path, *, inside_functions=True):
    """Return every module that a file imports."""
    found = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if inside_functions else tree.body:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the floor"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def inside(path):
    """Return the modules of the package that a file imports."""
    found = set()
    for full in imports(path):
        if full.partition(".")[0] == "profilekit":
            name = full.removeprefix("profilekit").removeprefix(".")
            while name and name not in MODULES:
                name = name.rpartition(".")[0]
            found.add(name or PUBLIC)
    return found


def test_every_module_has_a_floor():
    assert [module for module in MODULES if module != PUBLIC and floor_of(module) is None] == []


@pytest.mark.parametrize("module", [module for module in MODULES if module != PUBLIC])
def test_no_module_imports_a_higher_floor(module):
    for imported in inside(MODULES[module]):
        assert imported != PUBLIC, f"{module} imports the package itself"
        assert floor_of(imported) <= floor_of(module), f"{module} imports {imported}"


def test_nothing_goes_in_circles():
    edges = {module: inside(path) - {module} for module, path in MODULES.items() if module != PUBLIC}
    # A package is its modules: what it shows of them is no circle.
    edges = {
        module: {to for to in imported if not (to.startswith(f"{module}.") or module.startswith(f"{to}."))}
        for module, imported in edges.items()
    }
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            path.append(module)
            for imported in edges.get(module, ()):
                visit(imported)
            path.pop()
            done.add(module)

    for module in edges:
        visit(module)


def test_aiolimiter_has_one_door():
    users = [name for name, path in MODULES.items() if any("aiolimiter" in full for full in imports(path))]
    assert users == ["engine.local"]


def test_the_engine_knows_no_vendor():
    for module, path in MODULES.items():
        if module.startswith("engine"):
            assert not any(imported.startswith("vendors") for imported in inside(path))


def test_vendors_are_made_of_values():
    for vendor in ("vendors.amplitude", "vendors.userflux"):
        assert inside(MODULES[vendor]) == {"request", "errors", "rate"}


def test_modules_are_small_and_named_for_what_they_do():
    for module, path in MODULES.items():
        assert path.read_text().count("\n") <= 400, module
        assert not re.search(r"utils|helpers|base|common|manager", module)


def test_opentelemetry_is_asked_for_by_its_observer_only():
    users = {name for name, path in MODULES.items() if any("opentelemetry" in full for full in imports(path))}
    assert users == {"otel.observer", "otel.gauges", "otel.recorder"}
    assert not any(
        name.startswith("otel")
        for module in MODULES
        if not module.startswith("otel")
        for name in inside(MODULES[module])
    )


def test_the_library_needs_no_extra():
    """What `pip install profilekit` brings is enough for everything below the command line."""
    allowed = {
        "profilekit",
        "aiohappyeyeballs",
        "aiohttp",
        "aiolimiter",
        "httptools",
        "msgspec",
        "orjson",
        "yarl",
    }
    import sys

    for module, path in MODULES.items():
        if floor_of(module) == 6 or module == "pytest_plugin":
            continue
        if module.partition(".")[0] == "otel":
            continue
        foreign = {full.partition(".")[0] for full in imports(path)} - set(sys.stdlib_module_names)
        assert foreign - EXTRAS <= allowed, module
        at_once = {full.partition(".")[0] for full in imports(path, inside_functions=False)}
        assert at_once.isdisjoint(EXTRAS), module
