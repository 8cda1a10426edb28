"""64-bit JAX, checked where it matters, and the digests by which workers know what they hold."""

from __future__ import annotations

import jax

jax.config.update("jax_enable_x64", True)
