"""Verdicts → what people and programs read: terminal, Markdown, LaTeX, CSV, JSON. Returns text, prints nothing."""
