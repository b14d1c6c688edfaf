"""Doing it: the supervisor hands runs to an engine, the engine starts a worker for each, the worker trains."""
