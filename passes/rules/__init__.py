"""Rewrite rules by subject; each module lists its rules in RULES."""
