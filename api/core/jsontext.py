"""JSON as we write it: compact, in UTF-8."""

import json
from typing import Any

import orjson

_compact = json.JSONEncoder(separators=(",", ":")).encode


def dump(value: Any) -> bytes:
    """Return a value's JSON, which holds whatever the standard library's would. Raises TypeError for what is none."""
    try:
        return orjson.dumps(value)
    except TypeError:  # half a surrogate pair, or an integer beyond 64 bits; if it is neither, this raises it again
        return _compact(value).encode()
