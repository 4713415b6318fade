"""API Gateway's HTTP and WebSocket APIs, @connections, Invoke and the schedules, on one port."""
