"""A service of aiohttp.web that reads profiles and keeps writes."""

import sys

from aiohttp import web

from profilekit import ProfileClient, amplitude, errors, userflux
from profilekit.outbox import Outbox

CLIENT = web.AppKey("client", ProfileClient)
OUTBOX = web.AppKey("outbox", Outbox)


async def profiles(app):
    async with ProfileClient.from_env() as app[CLIENT], Outbox("writes.db", app[CLIENT]) as app[OUTBOX]:
        yield


async def picks(request):
    user_id = request.match_info["user_id"]
    try:
        profile = await request.app[CLIENT].send(amplitude.GetProfile(user_id, get_recs=True), timeout=0.5)
    except errors.ProfileKitError:
        return web.json_response(["bestseller"])
    rec = next(iter(profile.recommendations or ()), None)
    return web.json_response(["bestseller"] if rec is None or rec.is_control else rec.item_ids)


async def set_plan(request):
    user_id, plan = request.match_info["user_id"], request.match_info["plan"]
    await request.app[OUTBOX].put(userflux.UpdateProfile(user_id, properties={"plan": plan}))
    return web.Response(status=202)


app = web.Application()
app.cleanup_ctx.append(profiles)
app.add_routes([web.get("/picks/{user_id}", picks), web.put("/plan/{user_id}/{plan}", set_plan)])

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
