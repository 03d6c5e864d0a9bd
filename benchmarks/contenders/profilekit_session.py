"""profilekit over aiohttp's session, as with a session of the caller's own."""

from benchmarks.contenders import profilekit_stream
from profilekit.engine.session import own_session


class OverSession(profilekit_stream.ProfileKit):
    label = "profilekit stream, session transport"

    async def open(self, url):
        self.open_client = await self.client(url, own_session).__aenter__()


make = OverSession
