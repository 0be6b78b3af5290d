"""Where the files that come with the code lie: in the checkout, or inside the installed package."""

from pathlib import Path

_PACKAGE = Path(__file__).parent / "share"
_CHECKOUT = Path(__file__).parent.parent


def share(name: str) -> Path:
    """Return the path of `templates`, `migrations` or `openapi.yaml`."""
    installed = _PACKAGE / name
    return installed if installed.exists() else _CHECKOUT / name
