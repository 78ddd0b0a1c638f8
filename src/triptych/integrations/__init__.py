"""Triptych's rewards and credit inside other training frameworks, one file per framework."""
