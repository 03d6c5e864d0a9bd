"""The script on a real server: what it hands out, what it takes back, what it does when it knows nothing."""

import random
import time
from collections import Counter
from importlib.resources import files
from itertools import count

import pytest
import redis
from redises import RedisServer

SCRIPT = files("profilekit.shared").joinpath("quota.lua").read_text()

# As in the script.
SLOTS, REACH, WHOLE = 500, 511, 1_000_000

_NUMBERS = count()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    with server.client() as client:
        # One that was started a moment ago knows too little.
        while client.info("server")["uptime_in_seconds"] < 2:
            time.sleep(0.05)
    yield server
    server.kill()


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


class Quota:
    """One quota on the server; times in seconds."""

    def __init__(self, client, requests, per, *, name=None):
        self.client, self.requests, self.per = client, requests, int(per * WHOLE)
        self.name = name or f"quota-{next(_NUMBERS)}"
        self.keys = [
            self.name,
            *(f"{self.name}:{part}" for part in ("slots", "members", "at-work", "shares")),
        ]
        self.script = client.register_script(SCRIPT)
        self.length = self.per // SLOTS / WHOLE
        self.window = REACH * self.length

    def ask(
        self,
        who="a",
        wanted=0,
        *,
        state="",
        lead=0.0,
        ahead=0.04,
        share=0.0,
        alone=False,
        pause=0.0,
        stay=16.0,
        changes=None,
    ):
        arguments = [who, state, self.requests, self.per, wanted, int(lead * WHOLE), int(ahead * WHOLE)]
        arguments += [int(share * WHOLE), int(alone), int(pause * WHOLE), int(stay * WHOLE)]
        arguments += [number for change in (changes or {}).items() for number in change]
        return Said(self.script(keys=self.keys, args=arguments))

    def known(self, name):
        return self.client.hget(self.name, name)

    def write(self, **fields):
        self.client.hset(self.name, mapping={name: str(value) for name, value in fields.items()})

    @property
    def slots(self):
        return {
            int(slot): int(permits) for slot, permits in self.client.hgetall(f"{self.name}:slots").items()
        }

    @property
    def shares(self):
        return [int(share) for share in self.client.hvals(f"{self.name}:shares")]

    def check(self):
        """See that what is written down adds up."""
        slots = self.slots
        assert all(permits > 0 for permits in slots.values())
        assert int(self.known("used")) == sum(slots.values())
        assert int(self.known("promised")) == sum(self.shares) <= WHOLE


class Said:
    def __init__(self, told):
        now, state, cold, paused, share, at_work, part, *pairs = told
        self._now = now
        self.now, self.cold, self.paused = now / WHOLE, cold / WHOLE, paused / WHOLE
        self.state, self.share, self.at_work, self.part = state, share / WHOLE, at_work, part / WHOLE
        self.permits = dict(zip(pairs[::2], pairs[1::2], strict=True))
        self.count = sum(self.permits.values())

    def slot(self, quota):
        return self._now // (quota.per // SLOTS)


def most_in_run(slots, place):
    """Return the most that any run of slots holds which a slot is part of."""
    near = sorted((slot, permits) for slot, permits in slots.items() if abs(slot - place) < REACH)
    return max(
        sum(permits for slot, permits in near if first <= slot < first + REACH)
        for first in {slot for slot, _ in near if slot <= place} | {place}
    )


def until(quota, who, wanted, **fields):
    """Ask until there are permits."""
    for _ in range(2000):
        said = quota.ask(who, wanted, **fields)
        if said.count:
            return said
        time.sleep(0.002)
    raise AssertionError


# ---- the quota ---------------------------------------------------------------------------------


class Crowd:
    """Members who ask for anything at any time, and a book of what should come of it."""

    def __init__(self, client, draw):
        self.draw = draw
        self.quota = Quota(client, draw.choice([1, 2, 5, 30, 200, 2000]), draw.choice([0.1, 0.2, 0.5]))
        self.members = [f"member-{n}" for n in range(draw.randint(1, 6))]
        self.state = self.quota.ask(self.members[0]).state
        self.book, self.in_hand = Counter(), Counter()
        self.granted = 0

    def changes(self, state):
        """Draw what comes back and what left, and write it down; without the state nothing comes back."""
        draw, changes = self.draw, Counter()
        for slot in [slot for slot in self.in_hand if draw.random() < 0.02]:
            back = draw.randint(1, self.in_hand[slot])
            changes[slot] -= back
            if state:
                self.in_hand -= Counter({slot: back})
        if state:
            self.book.update(changes)
        if draw.random() < 0.03:
            slot = int(time.time() / self.quota.length) - draw.randint(0, REACH // 2)
            left = draw.randint(1, max(1, self.quota.requests // 10))
            changes[slot] = left + (changes[slot] if state else 0)
            self.book[slot] += left
        return changes

    def ask(self):
        draw = self.draw
        state = self.state if draw.random() < 0.95 else ""
        return self.quota.ask(
            draw.choice(self.members),
            draw.choice([0, 1, 1, 3, 50, 5000]),
            state=state,
            lead=draw.choice([0.0, 0.001, 0.02]),
            ahead=draw.choice([0.01, 0.04, 0.2]),
            pause=0.01 if draw.random() < 0.002 else 0.0,
            stay=draw.choice([0.0, 0.05, 16.0]),
            changes=self.changes(state),
        )

    def check(self, said):
        assert said.state == self.state
        self.granted += said.count
        self.book.update(said.permits)
        self.in_hand.update(said.permits)
        most = max(1, int(self.quota.requests * said.part))
        assert all(most_in_run(self.book, slot) <= most for slot in said.permits)
        self.quota.check()
        oldest = said.slot(self.quota) - REACH
        for old in [slot for slot in self.book if slot <= oldest]:
            del self.book[old], self.in_hand[old]
        assert +self.book == self.quota.slots


@pytest.mark.parametrize("seed", range(4))
def test_no_run_of_slots_ever_holds_more_than_the_quota_where_permits_are_handed_out(client, seed):
    draw = random.Random(seed)
    crowd = Crowd(client, draw)
    end = time.monotonic() + max(0.5, 2.2 * crowd.quota.window)
    while time.monotonic() < end:
        crowd.check(crowd.ask())
        if draw.random() < 0.3:
            time.sleep(draw.expovariate(200))
    assert crowd.granted >= 1


def test_with_work_waiting_nearly_all_of_it_is_handed_out_at_an_even_pace(client):
    quota = Quota(client, 200, 0.2)
    book, state = Counter(), ""
    end = time.monotonic() + 0.7
    while time.monotonic() < end:
        for who in ("a", "b", "c"):
            said = quota.ask(who, 100, state=state)
            state = said.state
            book += Counter(said.permits)
    # From the second window on, up to what was handed out last.
    slots = sorted(book)
    first, last = slots[0] + SLOTS, slots[-1] - SLOTS // 4
    handed_out = sum(permits for slot, permits in book.items() if first <= slot < last)
    assert handed_out >= 0.97 * quota.requests * (last - first) / SLOTS
    tenth = REACH // 10
    for start in range(first, last - tenth, tenth):
        part = sum(permits for slot, permits in book.items() if start <= slot < start + tenth)
        assert part <= 0.14 * quota.requests


def test_equal_demand_gets_equal_blocks(client):
    quota = Quota(client, 5000, 0.5)
    got, state = Counter(), ""
    for _ in range(2):
        for who in "abcd":
            state = quota.ask(who, 10_000, state=state, ahead=0.01).state
    for _ in range(40):
        for who in "abcd":
            said = quota.ask(who, 10_000, state=state, ahead=0.01)
            assert said.at_work == 4
            got[who] += said.count
    assert max(got.values()) == min(got.values()) > 0


def test_who_wants_little_leaves_the_rest_to_others(client):
    quota = Quota(client, 1000, 0.5)
    state = quota.ask("big", 1).state
    little = until(quota, "little", 1, state=state)
    big = until(quota, "big", 1000, state=state)
    assert little.count == 1
    assert big.count > 1


def test_one_request_an_hour_is_one_request(client):
    quota = Quota(client, 1, 3600)
    # As on a server that has been up for hours.
    state = quota.ask().state
    quota.write(cold=0)
    first = quota.ask("a", 5, state=state)
    assert first.count == 1
    second = quota.ask("b", 5, state=state)
    assert second.count == 1
    (begins,), (later,) = first.permits, second.permits
    assert later - begins >= REACH
    quota.check()


@pytest.mark.slow
def test_a_thousand_members_each_get_a_turn(client):
    quota = Quota(client, 600, 60)
    state = quota.ask().state
    quota.write(cold=0)
    book = Counter()
    for number in range(1000):
        said = quota.ask(f"member-{number}", 1, state=state)
        assert said.count == 1
        book += Counter(said.permits)
    assert most_in_run(book, sorted(book)[len(book) // 2]) <= 600
    assert max(book) - min(book) <= 1000 / 600 * REACH + 1
    quota.check()


# ---- what comes back, and what left without it -------------------------------------------------


def test_what_comes_back_is_handed_out_again(client):
    quota = Quota(client, 10, 0.5)
    said = until(quota, "a", 10, ahead=10.0)
    assert said.count == 10
    again = quota.ask("a", 10, state=said.state, ahead=10.0, changes=dict.fromkeys(said.permits, -1))
    assert again.count == 10
    assert max(again.permits) <= max(said.permits) + 25
    quota.check()


def test_give_backs_of_an_unknown_state_are_ignored(client):
    quota = Quota(client, 10, 0.5)
    said = until(quota, "a", 10, ahead=10.0)
    head = quota.known("head")
    for state in ("", "another"):
        quota.ask("a", state=state, changes={slot: -permits for slot, permits in said.permits.items()})
        assert quota.slots == said.permits
        assert int(quota.known("head")) >= int(head)
    quota.check()


def test_nobody_gives_back_more_than_there_is(client):
    quota = Quota(client, 10, 0.5)
    said = until(quota, "a", 1)
    (slot,) = said.permits
    quota.ask("a", state=said.state, changes={slot: -7, slot + 3: -1})
    assert quota.slots == {}
    quota.check()


def test_what_left_in_the_future_left_now(client):
    quota = Quota(client, 10, 0.5)
    state = quota.ask("a").state
    said = quota.ask("a", state=state, changes={int(time.time() / quota.length) + 10**9: 3})
    assert quota.slots == {int(said.now / quota.length): 3}


def test_what_left_too_long_ago_is_of_no_interest(client):
    quota = Quota(client, 10, 0.5)
    state = quota.ask("a").state
    said = quota.ask("a", state=state)
    quota.ask("a", state=state, changes={int(said.now / quota.length) - REACH: 3})
    assert quota.slots == {}


def test_permits_wait_until_what_left_alone_is_a_window_old(client):
    quota = Quota(client, 10, 0.2)
    state = quota.ask("a").state
    now = int(quota.ask("a", state=state).now / quota.length)
    said = until(quota, "a", 10, state=state, ahead=10.0, changes={now: 10})
    assert min(said.permits) >= now + REACH


def test_nothing_is_kept_of_what_no_window_reaches(client):
    quota = Quota(client, 1000, 0.1)
    state = quota.ask("a").state
    for _ in range(4):
        until(quota, "a", 1, state=state)
        time.sleep(0.06)
        said = quota.ask("a", state=state)
        oldest = int(said.now / quota.length) - REACH
        assert all(slot > oldest for slot in quota.slots)


# ---- members -----------------------------------------------------------------------------------


def test_all_shares_together_are_never_more_than_one(client):
    quota = Quota(client, 100, 0.5)
    for number in range(9):
        said = quota.ask(f"member-{number}", share=0.25)
        assert said.share == (0.25 if number < 4 else 0.0)
    quota.check()
    # It has known them for a while.
    quota.write(born=int(quota.known("born")) - 3 * WHOLE)
    for number in range(9):
        said = quota.ask(f"member-{number}")
        quota.check()
    for number in range(9):
        assert quota.ask(f"member-{number}").share == pytest.approx(1 / 9, abs=1e-5)
    quota.check()


def test_members_come_and_go_and_those_who_are_silent_expire(client):
    quota = Quota(client, 100, 0.5)
    quota.ask("a")
    quota.write(born=int(quota.known("born")) - 3 * WHOLE)
    assert quota.ask("a").share == 1.0
    assert quota.ask("b", stay=0.05).share == 0.0
    assert quota.ask("a").share == 0.5
    assert quota.ask("b", stay=0.05).share == 0.5
    time.sleep(0.06)
    assert quota.ask("a").share == 1.0
    quota.ask("b")
    quota.ask("a")
    quota.ask("b", stay=0.0)
    assert quota.ask("a").share == 1.0
    assert client.zrange(f"{quota.name}:members", 0, -1) == ["a"]
    quota.check()


def test_who_leaves_is_at_work_no_more(client):
    quota = Quota(client, 100, 0.5)
    state = until(quota, "a", 1).state
    until(quota, "b", 1, state=state)
    assert quota.ask("a", state=state).at_work == 2
    quota.ask("b", state=state, stay=0.0)
    assert quota.ask("a", state=state).at_work == 1


def test_every_key_is_forgotten_some_time(client):
    quota = Quota(client, 100, 0.5)
    state = until(quota, "a", 10).state
    quota.ask("a", state=state, pause=30.0)
    for key in quota.keys:
        assert 46_000 < client.pttl(key) < 50_000


def test_who_leaves_takes_nothing_away_from_those_who_are_silent(client):
    quota = Quota(client, 100, 0.1)
    state = quota.ask("a").state
    quota.ask("b", state=state)
    quota.ask("b", state=state, stay=0.0)
    assert client.pttl(quota.name) > 10_000
    quota.ask("a", state=state, stay=0.0)
    assert client.pttl(quota.name) < 1000


# ---- pauses ------------------------------------------------------------------------------------


def test_a_refusal_pauses_everybody_and_is_published(client):
    quota = Quota(client, 100, 0.5)
    state = until(quota, "a", 1).state
    with client.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(quota.name)
        channel.get_message(timeout=5)
        said = quota.ask("a", state=state, pause=5.0)
        message = next(channel.listen())
    assert said.paused == pytest.approx(said.now + 5.0, abs=1e-5)
    assert int(message["data"]) == round(said.paused * WHOLE)
    assert said.part == 0.7
    other = quota.ask("b", 10, state=state)
    assert (other.paused, other.count) == (said.paused, 0)
    # What else was under way tells the same.
    assert quota.ask("b", state=state, pause=1.0).part == 0.7


def test_after_a_refusal_less_is_used_and_slowly_more(client):
    quota = Quota(client, 100, 0.1)
    state = until(quota, "a", 1).state
    quota.ask("a", state=state, pause=0.001)
    parts = [0.7]
    while parts[-1] < 0.8:
        part = quota.ask("a", state=state).part
        parts += [part] * (part != parts[-1])
        time.sleep(0.005)
    assert parts == [0.7, 0.75, 0.8]


def test_a_pause_of_an_hour_takes_no_longer_to_answer_than_any_other(client):
    quota = Quota(client, 100, 0.1)
    state = until(quota, "a", 1).state
    quota.ask("a", 10, state=state, pause=3600.0)
    client.config_resetstat()
    quota.ask("b", 10, state=state)
    assert client.info("commandstats").get("cmdstat_hget", {"calls": 0})["calls"] < 2000


# ---- what it does not know ---------------------------------------------------------------------


def test_a_window_of_another_length_is_refused(client):
    quota = Quota(client, 100, 0.5)
    quota.ask("a")
    with pytest.raises(redis.exceptions.ResponseError, match="WINDOW 500000"):
        Quota(client, 100, 0.4, name=quota.name).ask("b")
    quota.check()


def test_a_server_that_has_been_up_for_a_window_hands_out_at_once(client):
    said = Quota(client, 100, 0.5).ask("a", 1)
    assert said.cold < said.now
    assert until(Quota(client, 100, 0.5), "a", 1).count == 1


def test_a_server_that_was_started_a_moment_ago_waits_for_a_window(client, tmp_path):
    server = RedisServer(tmp_path).start()
    try:
        with server.client() as fresh:
            quota = Quota(fresh, 100, 60)
            said = quota.ask("a", 1)
            assert said.count == 0
            assert 55 < said.cold - said.now <= quota.window + 0.001
    finally:
        server.kill()


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(lambda quota: quota.client.delete(*quota.keys), id="flushed"),
        pytest.param(lambda quota: quota.write(run="another"), id="failed over"),
        pytest.param(lambda quota: quota.write(seen=int((time.time() + 60) * WHOLE)), id="clock set back"),
        pytest.param(lambda quota: quota.client.delete(quota.keys[1]), id="slots evicted"),
        pytest.param(lambda quota: quota.client.delete(quota.keys[4]), id="shares evicted"),
        pytest.param(lambda quota: quota.client.delete(quota.keys[2]), id="members evicted"),
    ],
)
def test_one_that_lost_what_it_knew_hands_out_nothing_for_a_window(client, loss):
    quota = Quota(client, 100, 0.2)
    said = until(quota, "a", 100, ahead=10.0)
    quota.write(born=int(quota.known("born")) - 3 * WHOLE)
    state = quota.known("born")
    assert quota.ask("a", state=state).share == 1.0
    loss(quota)
    new = quota.ask("a", 1, state=state, share=1.0)
    assert new.state not in (state, said.state)
    assert new.cold == pytest.approx(new.now + quota.window, abs=1e-4)
    assert new.share == 1.0
    assert new.count == 0
    quota.check()
    assert quota.slots == {}
    assert quota.ask("b", 1, state=new.state).count == 0
    later = until(quota, "b", 1, state=new.state)
    assert later.now > new.cold
    quota.check()


def test_somebody_who_knows_another_state_tells_what_left_before_he_gets_any(client):
    quota = Quota(client, 100, 0.1)
    state = until(quota, "a", 1).state
    time.sleep(0.15)
    assert quota.ask("late", 10, state="1234").count == 0
    assert quota.ask("late", 10, alone=True).count == 0
    assert until(quota, "late", 10, state=state).count >= 1


def test_after_a_silence_those_who_worked_alone_have_time_to_tell(client):
    quota = Quota(client, 100, 0.1)
    state = until(quota, "a", 1).state
    told = quota.ask("a", 1, state=state, alone=True)
    assert told.cold < told.now
    quota.write(seen=int((time.time() - 0.5) * WHOLE))
    told = quota.ask("a", 1, state=state, alone=True)
    assert told.count == 0
    assert told.cold == pytest.approx(told.now + 1.0, abs=1e-4)
    assert quota.ask("b", 1, state=state).count == 0


def test_what_was_asked_before_a_silence_and_is_read_after_it_does_not_end_it(client):
    quota = Quota(client, 100, 0.1)
    state = until(quota, "a", 1).state
    quota.write(seen=int(quota.known("seen")) - 2 * WHOLE)
    quota.ask("a", state=state)
    said = quota.ask("b", state=state, alone=True)
    assert said.cold > said.now


def test_a_silence_in_which_nobody_worked_alone_is_none(client):
    quota = Quota(client, 100, 0.1)
    state = until(quota, "a", 1).state
    quota.write(seen=int((time.time() - 0.5) * WHOLE))
    assert quota.ask("a", 1, state=state).count == 1


def test_where_memory_is_full_nothing_is_changed(client, tmp_path):
    server = RedisServer(tmp_path).start()
    try:
        with server.client() as full:
            quota = Quota(full, 100, 0.1)
            state = until(quota, "a", 50).state
            quota.ask("b", state=state)
            time.sleep(0.12)
            before = [full.dump(key) for key in quota.keys]
            full.config_set("maxmemory", 1)
            for stay in (16.0, 0.0):
                with pytest.raises(redis.exceptions.ResponseError, match="OOM"):
                    quota.ask("a", 5, state=state, stay=stay, changes={1: -1})
            assert [full.dump(key) for key in quota.keys] == before
            full.config_set("maxmemory", 0)
            quota.ask("a", state=state)
            quota.check()
    finally:
        server.kill()
