"""Connections to Redis: one address, one connection pool, one sentence when it does not work.

Comes in: ``redis://``, ``rediss://``, ``unix://`` or ``redis+sentinel://host:port,host:port/service/db``. Goes out: an
``ArqRedis`` (which is redis-py's own client and queues jobs besides). A cluster is refused, since arq cannot run on one.
TLS checks the certificate and the name in it; a private CA is named by ``?ssl_ca_certs=FILE``. A server that has become a
replica is left: its connections are opened anew, wherever the address leads by then.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import ExponentialBackoff
from redis.exceptions import AuthenticationError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from bucketline.errors import ConfigError, ServiceUnavailable
from bucketline.queue import decode_job, encode_job

__all__ = ["configured", "connect_redis", "open_redis", "safe_address"]

_CHECK = "ssl_check_hostname"
_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")


def configured(url: str | None) -> str:
    """The address that the configuration gives. Raises ConfigError where it gives none."""
    if not url:
        raise ConfigError("No Redis is configured; set redis_url in bucketline.toml, or BUCKETLINE_REDIS_URL.")
    return url


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
        "socket_timeout": 10.0,  # no command of ours blocks
        "health_check_interval": 15,
        # A connection that drops is tried again at once and then twice more; OSError is what redis-py raises
        # while a server restarts.
        "retry": Retry(ExponentialBackoff(cap=1.0, base=0.05), 3),
        "retry_on_error": [ConnectionError, TimeoutError, OSError],
    }
    if parts.scheme.startswith("rediss"):
        asked = dict(parse_qsl(parts.query))
        url = parts._replace(query=urlencode({k: v for k, v in asked.items() if k != _CHECK})).geturl()
        options["ssl_cert_reqs"] = "required"
        options[_CHECK] = asked.get(_CHECK, "true").lower() not in ("false", "0", "no")
    codec: dict[str, Any] = {"job_serializer": encode_job, "job_deserializer": decode_job}
    try:
        if parts.scheme.endswith("+sentinel"):
            pool = _sentinel_pool(url, options)
        else:
            pool = ConnectionPool.from_url(url, **options)
        pool.connection_class = _mended(pool.connection_class)
        redis = ArqRedis(pool_or_conn=pool, **codec)
        redis.auto_close_connection_pool = True  # the pool is this client's own: aclose() ends its connections
        return redis
    except (ValueError, TypeError) as error:
        raise ConfigError(f"The Redis address {safe_address(url)!r} is not understood: {error}.") from None


async def connect_redis(url: str, *, evicting: bool = True) -> ArqRedis:
    """A client that has answered once. Raises ServiceUnavailable or ConfigError with one sentence.

    ``evicting``: a server that may drop any key when it is full will do.
    """
    redis = open_redis(url)
    try:
        _check(await redis.info(), url, evicting=evicting)
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


def _check(info: dict[str, Any], url: str, *, evicting: bool) -> None:
    # Which member tells differs: Valkey 8 has no redis_mode.
    if info.get("cluster_enabled") == 1 or "cluster" in (info.get("redis_mode"), info.get("server_mode")):
        raise ConfigError(
            f"{safe_address(url)} is a Redis Cluster, which the queue cannot run on; give a single Redis."
        )
    policy = str(info.get("maxmemory_policy", ""))
    if policy.startswith("allkeys") and not evicting:
        raise ConfigError(
            f"Redis at {safe_address(url)} may drop any key when it is full (maxmemory-policy {policy}); set noeviction, "
            "or allow_evicting_redis = true to run all the same."
        )


def _mended(base: type[Any]) -> type[Any]:
    """A connection of that kind with two faults of the client mended.

    It closes itself when the server says that it takes no writes: scripts say so in their own words, which redis-py
    does not know. And a transport that closed in the middle of a command is a lost connection, whatever the loop calls it.
    """

    class Connection(base):  # type: ignore[misc]
        async def send_packed_command(self, *args: Any, **named: Any) -> None:
            try:
                await super().send_packed_command(*args, **named)
            except RuntimeError as error:  # uvloop: "the handler is closed"
                await self.disconnect(nowait=True)
                raise RedisConnectionError(f"The connection was closed: {error}") from None

        async def read_response(self, *args: Any, **named: Any) -> Any:
            try:
                return await super().read_response(*args, **named)
            except ResponseError as error:
                if isinstance(error, ReadOnlyError) or "READONLY" in str(error):
                    await self.disconnect(nowait=True)
                    raise RedisConnectionError("The server has become a replica.") from None
                raise

    Connection.__name__ = base.__name__
    return Connection


class _SentinelPool(SentinelConnectionPool):
    """Ends the connections to the sentinels with its own."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        for client in self.sentinel_manager.sentinels:
            await client.aclose()


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
    sentinels: dict[str, Any] = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0}
    if parts.scheme.startswith("rediss"):
        options["ssl"] = True
        sentinels |= {name: value for name, value in options.items() if name.startswith("ssl")}
    sentinel = Sentinel(addresses, sentinel_kwargs=sentinels)
    return sentinel.master_for(service, connection_pool_class=_SentinelPool, **options).connection_pool
