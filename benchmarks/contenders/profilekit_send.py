"""profilekit as a service uses it: one ``send`` for each of 64 callers."""

from benchmarks.contenders import profilekit_stream, through_workers


class Sending(profilekit_stream.ProfileKit):
    label = "profilekit send"

    async def run(self, users):
        return await through_workers(self.one, users)


make = Sending
