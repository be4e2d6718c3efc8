"""Connections to Redis: one address, one connection pool, one sentence when it does not work.

Comes in: ``redis://``, ``rediss://``, ``unix://`` or ``redis+sentinel://host:port,host:port/service/db``. Goes out: an
``ArqRedis`` (which is redis-py's own client and queues jobs besides). A cluster is refused, since arq cannot run on one.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from bucketline.errors import ConfigError, ServiceUnavailable
from bucketline.queue import decode_job, encode_job

__all__ = ["connect_redis", "open_redis", "safe_address"]

_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")


def safe_address(url: str) -> str:
    """The address without user and password, for messages."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def open_redis(url: str, *, timeout_s: float = 5.0) -> ArqRedis:
    """A client for an address; connects at first use. Raises ConfigError for an address that is none."""
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise ConfigError(
            f"The Redis address {safe_address(url)!r} is not understood; it begins with redis://, rediss:// or unix://."
        )
    options: dict[str, Any] = {
        "socket_connect_timeout": timeout_s,
        "socket_timeout": 30.0,
        "health_check_interval": 15,
        # A connection that drops is tried again at once and then twice more; OSError is what redis-py raises
        # while a server restarts.
        "retry": Retry(ExponentialBackoff(cap=1.0, base=0.05), 3),
        "retry_on_error": [ConnectionError, TimeoutError, OSError],
    }
    codec: dict[str, Any] = {"job_serializer": encode_job, "job_deserializer": decode_job}
    try:
        if parts.scheme.endswith("+sentinel"):
            redis = ArqRedis(pool_or_conn=_sentinel_pool(url, options), **codec)
        else:
            redis = ArqRedis(pool_or_conn=ConnectionPool.from_url(url, **options), **codec)
        redis.auto_close_connection_pool = True  # the pool is this client's own: aclose() ends its connections
        return redis
    except ValueError as error:
        raise ConfigError(f"The Redis address {safe_address(url)!r} is not understood: {error}.") from None


async def connect_redis(url: str) -> ArqRedis:
    """A client that has answered once. Raises ServiceUnavailable or ConfigError with one sentence."""
    redis = open_redis(url)
    try:
        info = await redis.info("server")
        if info.get("redis_mode") == "cluster":
            raise ConfigError(
                f"{safe_address(url)} is a Redis Cluster, which the queue cannot run on; give a single Redis."
            )
        return redis
    except AuthenticationError:
        await redis.aclose()
        raise ConfigError(f"Redis at {safe_address(url)} refuses the password or user of redis_url.") from None
    except ResponseError as error:
        await redis.aclose()
        raise ConfigError(f"Redis at {safe_address(url)} refuses to answer: {error}.") from None
    except (RedisError, OSError) as error:
        await redis.aclose()
        reason = str(error).rstrip(".") or type(error).__name__
        raise ServiceUnavailable(
            f"Redis at {safe_address(url)} cannot be reached ({reason}); start it or correct redis_url."
        ) from None
    except ConfigError:
        await redis.aclose()
        raise


def _sentinel_pool(url: str, options: dict[str, Any]) -> Any:
    """``redis+sentinel://user:password@host:26379,host2:26379/service/0`` → the master's pool."""
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ConfigError(f"{safe_address(url)} names no sentinel service; write …/SERVICE/DB.")
    addresses = []
    for host in hosts.split(","):
        name, _, port = host.partition(":")
        addresses.append((name, int(port or 26379)))
    options = dict(options, db=int(database or 0), **dict(parse_qsl(parts.query)))
    if user:
        options["username"] = unquote(user)
    if password:
        options["password"] = unquote(password)
    if parts.scheme.startswith("rediss"):
        options["ssl"] = True
    return Sentinel(addresses, socket_timeout=5.0).master_for(service, **options).connection_pool
