"""Sweeps over parameters, what they prove, and checks of a strategy before any of it. Never sees ib, tws or live."""
