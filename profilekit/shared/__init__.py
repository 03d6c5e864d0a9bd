"""One quota for many processes and machines, kept in Redis or Valkey."""

from profilekit.shared.redis import RedisQuota

__all__ = ["RedisQuota"]
