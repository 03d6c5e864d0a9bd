"""The simulator keeps to what the vendors document; it is asked here by plain HTTP, not by profilekit."""

import asyncio
import re

import aiohttp
import pytest
from clock import most_in_window

from profilekit import Ok, ProfileClient, Rate, amplitude, errors, userflux
from profilekit.simulator import Simulator
from profilekit.simulator.amplitude import API_KEY, SECRET_KEY
from profilekit.simulator.people import person
from profilekit.simulator.quota import Window
from profilekit.simulator.userflux import READ_KEY, WRITE_KEY

SECRET = {"Authorization": f"Api-Key {SECRET_KEY}"}
READ = {"Authorization": f"Bearer {READ_KEY}"}
WRITE = {"Authorization": f"Bearer {WRITE_KEY}"}


@pytest.fixture
async def simulator():
    async with Simulator(userflux_rate=Rate(10_000, per=1)) as running:
        yield running


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


async def ask(http, simulator, query="user_id=u", headers=SECRET):
    async with http.get(f"{simulator.amplitude_url}/v1/userprofile?{query}", headers=headers) as response:
        return response.status, await response.text(), response


async def profile(http, simulator, query):
    status, _, response = await ask(http, simulator, query)
    assert status == 200
    return (await response.json())["userData"]


# ---- Amplitude ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status", "text"),
    [
        ({}, 401, "Missing Api-Key in Authorization header"),
        ({"Authorization": "Bearer x"}, 401, "Missing Api-Key in Authorization header"),
        ({"Authorization": "Api-Key"}, 401, "Missing Api-Key in Authorization header"),
        ({"Authorization": "Api-Key wrong"}, 401, "Invalid Api-Key"),
        ({"Authorization": aiohttp.encode_basic_auth(API_KEY, "wrong")}, 401, "Invalid Api-Key"),
        ({"Authorization": "Basic %%%"}, 401, "Invalid Api-Key"),
        ({"Authorization": aiohttp.encode_basic_auth(API_KEY, SECRET_KEY)}, 200, '"user_id":"u"'),
        (SECRET, 200, '"user_id":"u"'),
    ],
)
async def test_amplitudes_keys(http, simulator, headers, status, text):
    got, body, response = await ask(http, simulator, headers=headers)
    assert got == status
    assert text in body
    assert response.content_type == ("application/json" if status == 200 else "text/plain")


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "missing user_id"),
        ("user_id=", "missing user_id"),
        ("user_id=u&limit=0", "limit"),
        ("user_id=u&limit=x", "limit"),
        ("user_id=u&limit=%D9%A3", "limit"),
        (f"user_id=u&limit={'9' * 5000}", "limit"),
        ("user_id=u&get_recs=1", "get_recs"),
        ("user_id=u&propensity_type=x", "propensity_type"),
    ],
)
async def test_amplitude_refuses_bad_requests(http, simulator, query, text):
    status, body, _ = await ask(http, simulator, query)
    assert status == 400
    assert text in body


async def test_amplitude_shows_only_what_is_asked_for(http, simulator):
    data = await profile(http, simulator, "user_id=u")
    assert data == {
        "user_id": "u",
        "device_id": person(0, "u").device_id,
        "amp_props": None,
        "cohort_ids": None,
        "recommendations": None,
    }


async def test_amplitude_in_the_shape_of_the_pages(http, simulator):
    everything = "user_id=u&get_recs=true&get_amp_props=true&get_cohort_ids=true&get_propensity=true"
    data = await profile(http, simulator, everything + "&comp_id=a,b&rec_id=r1,r2&limit=2&prediction_id=p,q")
    assert 20 <= len(data["amp_props"]) - 2 <= 60
    assert data["amp_props"]["a"].isdecimal()
    assert [rec["rec_id"] for rec in data["recommendations"]] == ["r1", "r2"]
    assert all(len(rec["items"]) == 2 for rec in data["recommendations"])
    assert [score["pred_id"] for score in data["propensities"]] == ["p", "q"]
    assert data["propensity"] == data["propensities"][0]["prop"]


async def test_amplitude_in_the_shape_of_the_document(http):
    async with Simulator(shape="spec") as simulator:
        data = await profile(http, simulator, "user_id=u&get_recs=true&rec_id=r1&limit=3")
        assert set(data) == {
            "user_id",
            "amplitude_id",
            "user_properties",
            "computed_properties",
            "cohort_ids",
            "recommendations",
        }
        (rec,) = data["recommendations"]
        assert set(rec) == {"rec_id", "child_ids", "is_control", "recommendation_type", "title"}
        assert len(rec["child_ids"]) == 3
        assert "recommendations" not in await profile(http, simulator, "user_id=u")
        assert "user_id" not in await profile(http, simulator, "device_id=d")


async def test_percentiles_and_scores(http, simulator):
    score = await profile(http, simulator, "user_id=u&get_propensity=true")
    percentile = await profile(http, simulator, "user_id=u&get_propensity=true&propensity_type=pct")
    assert 0 <= score["propensity"] <= 1
    assert percentile["propensity"] in range(101)
    assert percentile["propensities"][0]["prop_type"] == "pct"


async def test_nobody_is_not_found(http, simulator):
    status, body, _ = await ask(http, simulator, "user_id=unknown-1")
    assert (status, body) == (404, '{"error":"User id and device id not seen before"}')


async def test_a_wrong_path_is_an_empty_handed_404(http, simulator):
    async with http.get(f"{simulator.amplitude_url}/v2/userprofile", headers=SECRET) as response:
        assert response.status == 404


async def test_over_the_quota_comes_the_documented_text(http):
    async with Simulator(amplitude_rate=Rate(3, per=60)) as simulator:
        answers = [await ask(http, simulator) for _ in range(5)]
        assert [status for status, *_ in answers] == [200, 200, 200, 429, 429]
        assert re.match(r'{"error":"Number of requests per minute exceeds system limit\.', answers[3][1])
        # A wrong key is nobody's quota.
        status, *_ = await ask(http, simulator, headers={"Authorization": "Api-Key wrong"})
        assert status == 401
        stats = simulator.stats()["amplitude"]
        assert (stats.requests, stats.admitted, stats.throttled, stats.most_in_window) == (6, 3, 2, 5)
        assert stats.statuses == {"200": 3, "401": 1, "429": 2}


# ---- UserFlux ----------------------------------------------------------------------------------


async def read(http, simulator, path, headers=READ):
    async with http.get(
        aiohttp.client.URL(f"{simulator.userflux_url}/profile/{path}", encoded=True), headers=headers
    ) as response:
        return response.status, await response.json()


async def write(http, simulator, body, headers=WRITE, query=""):
    async with http.post(f"{simulator.userflux_url}/profile{query}", json=body, headers=headers) as response:
        return response.status, await response.text()


async def test_userfluxs_keys(http, simulator):
    assert (await read(http, simulator, "u", {}))[0] == 401
    assert (await read(http, simulator, "u", {"Authorization": "Bearer wrong"}))[0] == 401
    assert (await read(http, simulator, "u", WRITE))[0] == 403
    assert (await read(http, simulator, "u", READ))[0] == 200
    assert (await write(http, simulator, {"userId": "u"}, {}))[0] == 401
    assert (await write(http, simulator, {"userId": "u"}, WRITE))[0] == 204
    assert (await write(http, simulator, {"userId": "u"}, READ))[0] == 204


async def test_a_profile_has_every_field_of_the_document(http, simulator):
    _, shown = await read(http, simulator, "u")
    assert set(shown) == {
        "id",
        "anonymousIds",
        "properties",
        "computedProperties",
        "segments",
        "locationData",
        "deviceData",
        "lastUpdatedAt",
        "createdAt",
    }
    assert shown["id"] == "u"
    assert 20 <= len(shown["properties"]) <= 60
    assert shown["createdAt"] <= shown["lastUpdatedAt"]


@pytest.mark.parametrize(
    ("path", "user_id"), [("a%2Fb", "a/b"), ("%252e", "%2e"), ("a%3Fb%23", "a?b#"), ("%E6%97%A5", "日")]
)
async def test_an_id_is_one_segment(http, simulator, path, user_id):
    assert (await read(http, simulator, path))[1]["id"] == user_id


async def test_a_slash_that_is_not_encoded_is_another_path(http, simulator):
    assert (await read(http, simulator, "a/b"))[0] == 404


async def test_a_write_shows_in_a_later_read(http, simulator):
    _, before = await read(http, simulator, "u")
    assert (await write(http, simulator, {"userId": "u", "properties": {"plan": "x", "new": [1]}}))[0] == 204
    assert (await write(http, simulator, {"userId": "u", "properties": {"plan": "y"}, "deviceData": None}))[
        0
    ] == 204
    _, after = await read(http, simulator, "u")
    assert after["properties"] == {**before["properties"], "plan": "y", "new": [1]}
    assert after["lastUpdatedAt"] > before["lastUpdatedAt"]
    assert after["createdAt"] == before["createdAt"]
    assert after["deviceData"] == before["deviceData"]


async def test_a_write_makes_somebody_of_nobody(http, simulator):
    assert (await read(http, simulator, "unknown"))[0] == 404
    update = {"userId": "unknown", "externalId": "e", "deviceData": {"os": "iOS"}, "properties": {"a": 1}}
    await write(http, simulator, update, query="?locationEnrichment=true")
    _, shown = await read(http, simulator, "unknown")
    assert shown["properties"] == {"a": 1}
    assert shown["deviceData"] == {"os": "iOS"}
    assert shown["locationData"]["ip"] == "127.0.0.1"
    assert shown["anonymousIds"] == []


async def test_what_was_written_anonymously_joins_the_user(http, simulator):
    await write(http, simulator, {"anonymousId": "anon", "properties": {"a": 1, "b": 1}})
    await write(http, simulator, {"userId": "unknown", "properties": {"b": 2}})
    await write(http, simulator, {"userId": "unknown", "anonymousId": "anon", "properties": {"c": 3}})
    _, shown = await read(http, simulator, "unknown")
    assert shown["properties"] == {"a": 1, "b": 2, "c": 3}
    assert shown["anonymousIds"] == ["anon"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ([], "must be an object"),
        ({}, "userId or anonymousId is required"),
        ({"properties": {}}, "userId or anonymousId is required"),
        ({"userId": ""}, "userId is not an id"),
        ({"userId": "null"}, "userId is not an id"),
        ({"userId": "u", "anonymousId": "undefined"}, "anonymousId is not an id"),
        ({"userId": 7}, "userId is not an id"),
        ({"userId": "u", "properties": []}, "properties must be an object"),
        ({"userId": "u", "deviceData": "x"}, "deviceData must be an object"),
    ],
)
async def test_userflux_refuses_bad_writes(http, simulator, body, text):
    status, answer = await write(http, simulator, body)
    assert status == 400
    assert text in answer


async def test_userflux_refuses_what_is_no_json_and_no_flag(http, simulator):
    async with http.post(f"{simulator.userflux_url}/profile", data=b"{", headers=WRITE) as response:
        assert response.status == 400
    assert (await write(http, simulator, {"userId": "u"}, query="?locationEnrichment=1"))[0] == 400


async def test_userfluxs_quota(http):
    async with Simulator(userflux_rate=Rate(1, per=60)) as simulator:
        assert (await read(http, simulator, "u"))[0] == 200
        assert (await read(http, simulator, "u"))[0] == 429


# ---- both --------------------------------------------------------------------------------------


def test_people_follow_from_id_and_seed():
    assert person(1, "u").properties == person(1, "u").properties
    assert person(1, "u").properties != person(2, "u").properties
    assert person(1, "u").properties != person(1, "v").properties
    assert person(1, "u").computed("a") == person(1, "u").computed("a") != person(1, "u").computed("b")


def test_people_are_of_many_kinds():
    people = [person(0, f"u{number}") for number in range(300)]
    sizes = [len(someone.properties) for someone in people]
    assert (min(sizes) >= 20, max(sizes) <= 60, len(set(sizes)) > 20) == (True, True, True)
    assert 10 < sum(someone.is_control("r") for someone in people) < 60
    assert {len(someone.cohorts) for someone in people} >= set(range(7))


async def test_a_share_of_ids_is_nobody_and_a_share_of_requests_fails(http):
    async with Simulator(amplitude_rate=Rate(10_000, 1), unknown=0.2, failing=0.1, seed=3) as simulator:
        statuses = [(await ask(http, simulator, f"user_id=u{number}"))[0] for number in range(300)]
    assert 30 < statuses.count(404) < 90
    assert 10 < statuses.count(500) < 60
    assert statuses.count(200) + statuses.count(404) + statuses.count(500) == 300


async def test_latency_is_drawn_around_its_median():
    async with Simulator(amplitude_rate=Rate(10_000, 1), latency=0.02) as simulator:
        account, _ = simulator.accounts()
        async with ProfileClient(account) as client:
            loop, took = asyncio.get_running_loop(), []
            for number in range(30):
                began = loop.time()
                await client.send(amplitude.GetProfile(f"u{number}"))
                took.append(loop.time() - began)
    assert len({round(time, 3) for time in took}) > 5
    assert sorted(took)[15] > 0.01


async def test_two_ports_keep_the_vendors_apart(http):
    simulator = Simulator()
    await simulator.start(userflux_port=0)
    try:
        assert simulator.amplitude_url != simulator.userflux_url
        assert (await ask(http, simulator))[0] == 200
        assert (await read(http, simulator, "u"))[0] == 200
        async with http.get(f"{simulator.amplitude_url}/profile/u", headers=READ) as response:
            assert response.status == 404
    finally:
        await simulator.close()


async def test_the_page_of_counters(http, simulator):
    await ask(http, simulator)
    await write(http, simulator, {"userId": "u"})
    async with http.get(f"{simulator.amplitude_url}/_simulator/stats") as response:
        shown = await response.json()
    assert shown["amplitude"] == {
        "requests": 1,
        "admitted": 1,
        "throttled": 0,
        "most_in_window": 1,
        "in_flight": 0,
        "most_in_flight": 1,
        "statuses": {"200": 1},
    }
    assert shown["userflux"]["statuses"] == {"204": 1}


@pytest.mark.parametrize("wrong", [{"latency": -1}, {"unknown": 2}, {"failing": -0.1}, {"shape": "round"}])
def test_refuses_what_cannot_be_simulated(wrong):
    with pytest.raises(errors.ConfigError, match="Simulator: "):
        Simulator(**wrong)


def test_a_sliding_window_counts_every_alignment():
    window = Window(Rate(2, per=1))
    assert [window.admit(time) for time in (0.0, 0.75, 0.875, 1.0, 1.5, 1.75)] == [
        True,
        True,
        False,
        True,
        False,
        True,
    ]
    assert (window.admitted, window.refused, window.most) == (4, 2, 4)


# ---- profilekit against it ---------------------------------------------------------------------


async def test_at_200_a_second_with_latency_no_window_sees_more_and_nothing_is_throttled():
    rate = Rate(200, per=1)
    async with Simulator(amplitude_rate=rate, latency=0.03) as simulator:
        account, _ = simulator.accounts()
        async with ProfileClient(account) as client:
            outcomes = await client.send_all(amplitude.GetProfile(f"u{number}") for number in range(700))
        stats = simulator.stats()["amplitude"]
    assert all(isinstance(outcome, Ok) for outcome in outcomes)
    assert stats.requests == 700
    assert (stats.throttled, stats.most_in_window <= rate.requests) == (0, True)


@pytest.mark.parametrize("shape", ["pages", "spec"])
async def test_every_parameter_through_the_client(shape):
    request = amplitude.GetProfile(
        "u",
        device_id="d",
        get_recs=True,
        rec_id=("r1", "r2"),
        rec_type="random",
        limit=2,
        get_amp_props=True,
        get_cohort_ids=True,
        get_computations=True,
        comp_id=("a", 7),
        get_propensity=True,
        prediction_id=("p", "q"),
        propensity_type="pct",
    )
    async with Simulator(shape=shape) as simulator, ProfileClient(*simulator.accounts()) as client:
        answer = await client.send(request)
    assert answer.user_id == "u"
    assert {"a", "7", "plan"} <= answer.properties.keys()
    assert answer.cohort_ids == person(0, "u").cohorts
    assert [rec.rec_id for rec in answer.recommendations] == ["r1", "r2"]
    assert [len(rec.item_ids) for rec in answer.recommendations] == [2, 2]
    if shape == "pages":
        assert [score.pred_id for score in answer.propensities] == ["p", "q"]


@pytest.mark.parametrize(
    "user_id", ["a/b", "%2e%2e", "a b", "é日本", "a?b#c&d=e", "a\r\nb", "\u202eabc", "..x", "x" * 2000]
)
async def test_every_id_reaches_its_own_user(user_id):
    async with Simulator() as simulator, ProfileClient(*simulator.accounts()) as client:
        assert (await client.send(amplitude.GetProfile(user_id))).user_id == user_id
        await client.send(userflux.UpdateProfile(user_id, properties={"mine": user_id}))
        shown = await client.send(userflux.GetProfile(user_id))
    assert (shown.id, shown.properties["mine"]) == (user_id, user_id)


async def test_both_forms_of_auth_and_every_refusal_through_the_client():
    async with Simulator() as simulator:
        url = simulator.amplitude_url
        wrong = {
            amplitude.Account(secret_key="wrong", base_url=url): errors.AuthError,
            amplitude.Account(secret_key=SECRET_KEY, api_key="wrong", base_url=url): errors.AuthError,
        }
        for account, kind in wrong.items():
            async with ProfileClient(account) as client:
                with pytest.raises(kind):
                    await client.send(amplitude.GetProfile("u"))
        basic = amplitude.Account(secret_key=SECRET_KEY, api_key=API_KEY, base_url=url)
        async with ProfileClient(basic) as client:
            assert (await client.send(amplitude.GetProfile("u"))).user_id == "u"
            with pytest.raises(errors.ProfileNotFoundError):
                await client.send(amplitude.GetProfile("unknown"))
        misplaced = userflux.Account(read_key=WRITE_KEY, base_url=url)
        async with ProfileClient(misplaced) as client:
            with pytest.raises(errors.AccessDeniedError):
                await client.send(userflux.GetProfile("u"))


def test_windows_are_measured_like_the_simulator_measures_them():
    times = [0.0, 0.5, 0.9, 1.0, 1.4, 3.0]
    window = Window(Rate(100, per=1))
    for time in times:
        window.admit(time)
    assert window.most == most_in_window(times, 1) == 4
