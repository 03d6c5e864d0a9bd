"""Lists over Ray: a Ray Data dataset of users becomes one of their profiles, or of why there is none."""

from profilekit.ray.dataset import enrich

__all__ = ["enrich"]
