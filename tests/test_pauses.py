"""Pauses that a vendor asks for, over real sockets: every lane is served again, on any event loop."""

import asyncio
import time
from email.utils import formatdate

from rawserver import ok, raw_server, read_request
from redises import RedisServer
from stub import AMPLITUDE

from profilekit import ProfileClient, Rate, amplitude
from profilekit.shared import RedisQuota

RATE = Rate(20, per=1)
LANES = 6


def retry_after(asked):
    return formatdate(time.time() + 1, usegmt=True) if asked == "a date" else asked


async def throttling(server, reader, writer):
    """Refuse the third request of each key, which says how long to wait."""
    while True:
        head, _ = await read_request(server, reader)
        _, _, key = next(line for line in head.split(b"\r\n") if b"Api-Key" in line).rpartition(b" ")
        if sum(key in request for request in server.received) == 3:
            asked = retry_after(key.decode().partition("_")[2].replace("_", " "))
            writer.write(
                f"HTTP/1.1 429 \r\nRetry-After: {asked}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")
            )
        else:
            writer.write(ok(AMPLITUDE))
        await writer.drain()


async def served(url, key, quota):
    """Return how many of the requests of a client are answered."""
    account = amplitude.Account(secret_key=key, base_url=url, rate=RATE)
    async with ProfileClient(account, quota=quota) as client:
        answers = await asyncio.gather(
            *(client.send(amplitude.GetProfile("u"), timeout=10) for _ in range(12)), return_exceptions=True
        )
    return sum(isinstance(answer, amplitude.Profile) for answer in answers)


async def all_served(quota_of):
    keys = [f"k{lane}_{asked}" for asked in ("0.33", "0.75", "a_date") for lane in range(LANES)]
    async with raw_server(throttling) as server:
        counts = await asyncio.gather(*(served(server.url, key, quota_of(key)) for key in keys))
    return dict(zip(keys, counts, strict=True)), dict.fromkeys(keys, 12)


async def test_with_a_quota_of_its_own_every_lane_is_served_again():
    counts, wanted = await all_served(lambda key: None)
    assert counts == wanted


async def test_with_a_quota_in_redis_every_lane_is_served_again(tmp_path):
    redis = RedisServer(tmp_path).start()
    try:
        counts, wanted = await all_served(lambda key: RedisQuota(redis.url, name=key, processes=1))
    finally:
        redis.kill()
    assert counts == wanted
