"""The queue between processes, on Redis; nothing else here imports redis."""

from .broker import RedisBroker as RedisBroker
from .connection import UnsafeRedis as UnsafeRedis
from .registry import LIFETIME_S as LIFETIME_S
from .registry import RedisRegistry as RedisRegistry
from .sessions import RedisSessionStore as RedisSessionStore

__all__ = ["LIFETIME_S", "RedisBroker", "RedisRegistry", "RedisSessionStore", "UnsafeRedis"]
