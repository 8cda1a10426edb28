"""Other formats of statistical models, read to a pyhf workspace and written from one."""
