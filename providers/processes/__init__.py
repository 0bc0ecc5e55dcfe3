"""Processes over stored collections, and a process manager that is right under threads."""
