"""Notebook: how objects look where they are the last line of a cell, and the pictures that they draw of themselves."""
