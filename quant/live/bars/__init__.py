"""Closed bars out of what IB sends: each once, in order, none made up."""
