"""The vendors that profilekit knows, each in one declarative file."""
