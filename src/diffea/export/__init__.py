"""Export: a result handed on to those who do not use diffea."""
