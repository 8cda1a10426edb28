"""Templates: what all chunks sum up to, and what the statistical model reads."""

from __future__ import annotations

from diffea.templates.derivatives import TemplateJacobian
from diffea.templates.gap import soft_hard_gap
from diffea.templates.layout import NOMINAL, Key, Layout
from diffea.templates.template_set import Template, TemplateSet

__all__ = ["NOMINAL", "Key", "Layout", "Template", "TemplateJacobian", "TemplateSet", "soft_hard_gap"]
