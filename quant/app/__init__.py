"""The command line: turns words and settings into calls of the Python API, and results into text or JSON."""
