"""The engine: it turns requests into answers, for any vendor, and knows none."""
