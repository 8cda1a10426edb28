"""Every error that diffea raises, each with what was expected, what was got, where, and what to do."""

from __future__ import annotations


class DiffeaError(Exception):
    """Base of every error of diffea."""


class UnknownTemplateError(DiffeaError, KeyError):
    """Raised when a template is asked for that no fill made, or by a name that is none."""

    __str__ = Exception.__str__


class RemoteFileError(DiffeaError):
    """Raised when the description of a downloadable file has no checksum, a malformed one, or an unsafe name."""


class DownloadError(DiffeaError):
    """Raised when a file to download cannot be reached or breaks off."""


class ChecksumError(DiffeaError):
    """Raised when a downloaded file differs from the published size or checksum."""
