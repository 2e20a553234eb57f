"""Values without I/O: bars, instruments, time, costs, sizing. Knows no store, no backtrader, no broker."""
