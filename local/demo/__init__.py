"""`make demo`: StreamSpace's Integration Test 3.2, played for people."""
