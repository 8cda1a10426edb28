"""Names that may become files and folders: each stays where it belongs, on every system."""

from __future__ import annotations

import unicodedata

RESERVED = {
    "con",
    "conin$",
    "conout$",
    "prn",
    "aux",
    "nul",
    *(f"{port}{number}" for port in ("com", "lpt") for number in range(10)),
}
LONGEST = 200  # bytes; file systems allow 255


def unfit(name: object) -> str | None:
    """Why a name is not one of a file or folder, in words; None if it is."""
    if not isinstance(name, str) or not name:
        return "it must be a text that is not empty"
    if any(character in name for character in "/\\:"):
        return "it must not lead to another folder"
    if any(unicodedata.category(character).startswith(("C", "Z")) and character != " " for character in name):
        return "it must not have control or invisible characters"
    if name.startswith((".", "~", "-")) or name != name.strip(" ."):
        return "it must not begin with '.', '~' or '-', nor begin or end with a blank or '.'"
    if any(character in name for character in '*?"<>|'):
        return 'it must not have the signs * ? " < > |'
    if name.split(".")[0].strip().lower() in RESERVED:
        return "it is a device's on some systems"
    if len(name.encode()) > LONGEST:
        return f"it must not be longer than {LONGEST} bytes"
    return None


def unfit_path(path: object) -> str | None:
    """Why a text is no path, with forward slashes, to a file within a folder; None if it is."""
    if not isinstance(path, str):
        return "it must be a text"
    return next((f"of {part!r}, {reason}" for part in path.split("/") if (reason := unfit(part))), None)
