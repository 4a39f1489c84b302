"""icehouse.interpreters.pool against pools that pickle: `python -m benchmarks.pools`."""
