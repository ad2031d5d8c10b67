"""The house: who may know whom. Draws the import map and fails on an arrow that goes up (ARCHITECTURE.md)."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "imapd"

# Each room and the rooms that it may import. What is not named here may import everything (the roof: cli, config, ...).
MAY_IMPORT = {
    "model": set(),
    "wire": {"model"},
    "mime": {"model"},
    "directory": {"model"},
    "mailstore": {"model", "wire", "mime"},
    "imap": {"model", "wire", "mime", "directory", "mailstore"},
    "delivery": {"model", "directory", "mailstore"},
    "server": {
        *("model", "wire", "mime", "directory", "mailstore", "imap", "delivery"),
        *("settings", "peoplesettings", "deliverysettings", "kinds", "log"),
    },
}

# Inside imap/: a command knows neither dispatch nor the catalogue; and no command knows another one.
CORRIDORS = {"commands", "extensions"}

# One foreign library, one room.
HOMES = {
    "gevent": "server",
    "inotify_simple": "server/watch.py",
    "OpenSSL": "server/tls.py",
    "cryptography": "demo.py directory/certificate.py",
    "configobj": "config.py",
    "jwt": "directory/jwtissuer.py",
    "sqlite3": "mailstore/database.py directory/tries.py",
    "argon2": "directory/passwords.py",
    "bcrypt": "directory/passwords.py",
    "crypt_r": "directory/passwords.py",
    "greenlet": "server",
    "ldap3": "directory/ldapwire.py",
    "dns": "directory/srv.py",
}

# Rooms that are pure: bytes in, values out. No clock, no files, no processes.
PURE = {"model", "wire", "mime"}
WORLD = {"os", "io", "socket", "select", "threading", "subprocess", "tempfile", "random", "logging", "asyncio"}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """The dotted names that a module imports when it runs; those under `if TYPE_CHECKING` count as well."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides which room is meant"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def test_imports_go_down_only():
    wrong = []
    for path in modules():
        allowed = MAY_IMPORT.get(room(path))
        if allowed is None:
            continue
        for name in imports(path):
            if name.startswith("imapd."):
                target = name.split(".")[1]
                if target != room(path) and target not in allowed and target != "__version__":
                    wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_commands_and_extensions_know_neither_dispatch_nor_the_catalogue():
    wrong = []
    for path in modules():
        parts = path.relative_to(PACKAGE).parts
        if parts[0] == "imap" and len(parts) > 2 and parts[1] in CORRIDORS:
            wrong += [
                f"{'/'.join(parts)} imports {name}"
                for name in imports(path)
                if name.startswith(("imapd.imap.dispatch", "imapd.imap.catalogue", "imapd.imap.updates"))
            ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("library", sorted(HOMES))
def test_a_foreign_library_has_one_room(library):
    wrong = []
    for path in modules():
        if any(name == library or name.startswith(library + ".") for name in imports(path)):
            where = str(path.relative_to(PACKAGE))
            if not any(where == home or where.startswith(home + "/") for home in HOMES[library].split()):
                wrong.append(where)
    assert not wrong, f"{library} belongs to {HOMES[library]}, and is imported in {wrong}"


@pytest.mark.parametrize("pure", sorted(PURE))
def test_a_pure_room_does_not_touch_the_world(pure):
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in modules()
        if room(path) == pure
        for name in imports(path)
        if name.split(".")[0] in WORLD
    ]
    clocks = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} asks the clock"
        for path in modules()
        if room(path) == pure
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in ("monotonic", "perf_counter", "now", "utcnow", "sleep", "time_ns")
    ]
    assert not wrong + clocks, "\n".join(wrong + clocks)


def test_every_module_says_what_it_is_for():
    silent = [
        str(path)
        for path in modules()
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_capability_words_stand_in_extensions_only():
    """CAPABILITY is read off the catalogue: no other room spells its words."""
    words = {"LITERAL+", "UIDPLUS", "MULTIAPPEND", "SASL-IR", "LIST-EXTENDED", "LIST-STATUS", "CREATE-SPECIAL-USE"}
    wrong = []
    for path in modules():
        parts = path.relative_to(PACKAGE).parts
        if parts[:2] in (("imap", "extensions"), ("imap", "commands")):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in words:
                wrong.append(f"{'/'.join(parts)}:{node.lineno} {node.value}")
    assert not wrong
