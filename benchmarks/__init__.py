"""What profilekit costs, beside whatever else one would use: ``python -m benchmarks``."""
