"""A JSON value with one part replaced, removed or doubled: what a damaged file may contain."""

import copy

REPLACEMENTS = [
    *(None, True, "", "0", "\x00", "\ud800", "../x", "a" * 5000),
    *(-1, 0, 7, 2**24, 2**200, 0.5, float("nan")),
    *([], {}, [[]]),
]
REMOVED = object()
DOUBLED = object()


def positions(value, path=()):
    """The path of every part of a value, the whole included."""
    yield path
    if isinstance(value, dict):
        for key, part in value.items():
            yield from positions(part, (*path, key))
    if isinstance(value, list):
        for index, part in enumerate(value):
            yield from positions(part, (*path, index))


def changed(value, path, replacement):
    """A copy of the value in which one part is another."""
    if not path:
        return copy.deepcopy(replacement)
    changed_value = copy.deepcopy(value)
    parent = changed_value
    for step in path[:-1]:
        parent = parent[step]
    if replacement is REMOVED:
        del parent[path[-1]]
    elif replacement is DOUBLED:
        parent.append(copy.deepcopy(parent[path[-1]]))
    else:
        parent[path[-1]] = copy.deepcopy(replacement)
    return changed_value


def mutations(value):
    """Pairs of a path and a value that is different there."""
    for path in positions(value):
        for replacement in REPLACEMENTS:
            yield path, changed(value, path, replacement)
        if path:
            yield path, changed(value, path, REMOVED)
        if path and isinstance(path[-1], int):
            yield path, changed(value, path, DOUBLED)
