"""What all who decode have in common: which answer, how often, and whether what comes of it is kept."""

from benchmarks import bodies


class Decoding:
    """Needs no socket: ``run`` decodes one answer for each user, and keeps them all for "memory"."""

    def __init__(self, task):
        self.of_userflux = task == "decode userflux"
        self.kept = [] if task == "memory" else None
        self.answer = bodies.userflux() if self.of_userflux else bodies.amplitude()
        self.decode = self.decoder()

    async def open(self, url):
        pass

    async def one(self, user):
        return self.who(self.decode(self.answer.replace(b"%b", user.encode(), 1)))

    async def run(self, users):
        decode, answer = self.decode, self.answer
        if self.kept is not None:
            self.kept = [decode(answer) for _ in users]
            return len(self.kept)
        done = 0
        for _ in users:
            decode(answer)
            done += 1
        return done

    async def close(self):
        pass


def who(answer):
    """Return the id and the cohorts, or segments, out of plain dicts."""
    data = answer.get("userData", answer)
    return data.get("user_id", data.get("id")), data.get("cohort_ids", data.get("segments"))
