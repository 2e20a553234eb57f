"""Order safety: journal, order states, book, reconciliation, risk gate. Knows values only: no socket, no strategy."""
