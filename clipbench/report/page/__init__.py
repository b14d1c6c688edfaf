"""The page: one self-contained HTML file, and the same pictures as files for a paper."""
