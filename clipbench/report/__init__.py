"""Reports: results as terminal text, Markdown, LaTeX, CSV or JSON. Nothing here prints."""
