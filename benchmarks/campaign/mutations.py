"""Changes to the bytes of a file: random ones, and those that change what a format means."""

import json
import random
from typing import Any

import yaml

# Values that readers meet in damaged or hostile files, whatever they expect.
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    0.5,
    -0.0,
    1e7,
    1e18,
    1e308,
    float("inf"),
    float("-inf"),
    float("nan"),
    2**31,
    2**63,
    2**64,
    -(2**63),
    10**400,
    "",
    "0",
    "1",
    "text",
    "../../outside.png",
    "/etc/hostname",
    "C:\\images\\a.png",
    "a\0b",
    "\ud800",
    "é" * 300,
    [],
    [[]],
    [0],
    [1, 2, 3],
    [None],
    {},
    {"id": 1},
    {"size": [96, 160], "counts": ""},
    {"size": [96, 160], "counts": "0" * 50},
    {"size": [10**6, 10**6], "counts": [10**12]},
)
TOKENS = (b"0", b"-1", b"1.5", b"1e18", b"inf", b"nan", b"", b"text", b"\xff", b"\x00", b"99999")
BLOCKS = (
    b"\x00" * 8,
    b"\xff" * 8,
    b"\xef\xbb\xbf",
    b"[" * 2000,
    b'{"a":' * 2000,
    b"\n",
    b" ",
    b"9" * 400,
)


def mutated(content: bytes, suffix: str, rng: random.Random) -> bytes:
    """The content of a file with one to three changes.

    Args:
        content: the content of a valid file.
        suffix: its ending, which decides whether values can be replaced inside its structure.
        rng: the source of all choices.
    """
    for _ in range(rng.randint(1, 3)):
        change = rng.choice(_CHANGES)
        if suffix in _STRUCTURED and rng.random() < 0.6:
            change = _STRUCTURED[suffix]
        content = change(content, rng)
    return content


def _flip(content: bytes, rng: random.Random) -> bytes:
    if not content:
        return b"\0"
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randint(0, len(content))]


def _remove(content: bytes, rng: random.Random) -> bytes:
    start = rng.randint(0, len(content))
    return content[:start] + content[start + rng.choice((1, 2, 4, 16, 100)) :]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    start = rng.randint(0, len(content))
    part = content[start : start + rng.choice((1, 4, 16, 100, 1000))]
    return content[:start] + part * rng.choice((2, 3, 10)) + content[start:]


def _insert(content: bytes, rng: random.Random) -> bytes:
    start = rng.choice((0, len(content), rng.randint(0, len(content))))
    return content[:start] + rng.choice(BLOCKS) + content[start:]


def _overwrite(content: bytes, rng: random.Random) -> bytes:
    start = rng.randint(0, len(content))
    block = rng.randbytes(rng.choice((1, 2, 4, 8)))
    return content[:start] + block + content[start + len(block) :]


def _replace_token(content: bytes, rng: random.Random) -> bytes:
    """Replace one word of a text file, between blanks."""
    tokens = content.split(b" ")
    tokens[rng.randrange(len(tokens))] = rng.choice(TOKENS)
    return b" ".join(tokens)


def _replace_json_value(content: bytes, rng: random.Random) -> bytes:
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return _flip(content, rng)
    try:
        return json.dumps(_changed(tree, rng)).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return _flip(content, rng)


def _replace_yaml_value(content: bytes, rng: random.Random) -> bytes:
    try:
        tree = yaml.load(content, Loader=yaml.CSafeLoader)
        return yaml.dump(_changed(tree, rng), Dumper=yaml.CSafeDumper).encode()
    except (yaml.YAMLError, ValueError, RecursionError):
        return _flip(content, rng)


def _changed(tree: Any, rng: random.Random) -> Any:
    """The tree with one value replaced, removed, repeated or given another key."""
    parents = list(_containers(tree))
    if not parents:
        return rng.choice(VALUES)
    parent = rng.choice(parents)
    key = rng.choice(list(parent)) if isinstance(parent, dict) else rng.randrange(len(parent))
    action = rng.random()
    if action < 0.7:
        parent[key] = rng.choice(VALUES)
    elif action < 0.8:
        del parent[key]
    elif action < 0.9 and isinstance(parent, list):
        parent.insert(key, parent[key])
    elif isinstance(parent, dict):
        parent[rng.choice(("id", "x", "", "image_id", "category_id"))] = parent.pop(key)
    return tree


def _containers(tree: Any) -> list[Any]:
    """Every mapping and list that has content; those near the top come as often as deep ones."""
    by_depth: list[list[Any]] = []
    level = [tree]
    while level:
        containers = [node for node in level if isinstance(node, dict | list) and node]
        by_depth.append(containers)
        level = []
        for node in containers:
            level += node.values() if isinstance(node, dict) else node
    largest = max(len(containers) for containers in by_depth)
    found = []
    for containers in by_depth:
        if containers:
            found += containers * max(1, min(largest // len(containers), 50))
    return found


_CHANGES = (_flip, _truncate, _remove, _repeat, _insert, _overwrite, _replace_token)
_STRUCTURED = {
    ".json": _replace_json_value,
    ".yaml": _replace_yaml_value,
    ".txt": _replace_token,
}
