"""The journal of a deployment: one file, one writer, readers beside it."""
