"""The daemon's store beside what people share objects with: `python -m benchmarks.service`."""
