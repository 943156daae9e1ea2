"""Published closed-loop points: data, read by `hasten.accuracy.closed_loop`."""
