"""The simulated exchange behind the simulated TWS: pure logic, no sockets, no threads, no wall clock, no wire."""
