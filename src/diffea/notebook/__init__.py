"""Notebook: how objects look where they are the last line of a cell, the pictures that they draw of themselves, and a live bar."""

from __future__ import annotations

from diffea.notebook.live import Live

__all__ = ["Live"]
