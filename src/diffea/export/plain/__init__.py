"""Plain: what an exported processor needs of diffea, again in NumPy, with exact cuts only.

The exporter copies what a processor uses of these modules into its file; nothing here knows of JAX, or of the rest of diffea.
"""
