"""The broker's books against ours: what differs, and what is to be done about it. Pure."""
