"""What the simulated TWS does with each request: functions of (tws, client, request, now), by subject."""
