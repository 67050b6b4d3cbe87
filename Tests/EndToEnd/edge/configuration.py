"""Configurations as nested mappings, and the block-style YAML that users write."""

import json


def yaml(value, indent=0):
    """Block-style YAML of mappings, lists, strings, numbers and booleans."""
    pad = " " * indent
    if isinstance(value, dict):
        lines = []
        for key, item in value.items():
            if isinstance(item, (dict, list)) and item:
                lines.append(f"{pad}{key}:\n{yaml(item, indent + 2)}")
            else:
                lines.append(f"{pad}{key}: {_scalar(item)}\n")
        return "".join(lines)
    if isinstance(value, list):
        return "".join(
            f"{pad}- {yaml(item, indent + 2).lstrip(' ')}" if isinstance(item, (dict, list))
            else f"{pad}- {_scalar(item)}\n" for item in value)
    return _scalar(value)


def _scalar(value):
    # Quoted strings and plain numbers, booleans and empty collections: JSON's are YAML's.
    return json.dumps(value)


def merged(base, changes):
    """A copy of `base` with `changes` laid over it; None removes a key."""
    result = dict(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result
