-- One quota for all who ask, on this server's clock. Times are in microseconds, shares in millionths.
--
-- A permit belongs to a slot, a short stretch of time in which it may be used. No run of REACH slots,
-- which is a little longer than a window, ever holds more permits than the quota; and permits are
-- handed out at an even pace. What comes back unused is handed out again.
--
-- KEYS  what is known; permits by slot; members and when they expire; who is at work; members' shares
-- ARGV  who asks; the state it knows ('' for none); requests and length of the window; permits wanted;
--       after how long it can use one; what to hand out ahead of time; its share; whether it worked by
--       itself; a pause; how long it is a member (0: it leaves); slots and how many left in them without
--       a permit, or how many permits come back, as less than 0
-- Returns  the time; the state; until when that knows too little; until when the vendor pauses all; the
--       share of who asks; how many are at work; the part of the quota in use; slots and permits in them

local SLOTS, REACH, WHOLE = 500, 511, 1000000
local BURST, SETTLE, SILENCE, REPORT = 0.01, 2000000, 400000, 50000
local LEFT_AFTER_REFUSAL, MORE_A_WINDOW, LEAST = 0.7, 50000, 10000

local known, slots, members, at_work, shares = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local me, state = ARGV[1], ARGV[2]
local requests, per, wanted, lead, ahead = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local share, alone, pause, stay = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local FIRST_CHANGE = 12

local function text(number) return string.format('%.0f', number) end
local function in_slot(slot) return tonumber(redis.call('HGET', slots, text(slot))) or 0 end

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local length = math.floor(per / SLOTS)
local window = REACH * length
local slot = math.floor(now / length)

-- What is known. After a failover, on a clock that was set back, or when keys were evicted, that is nothing.
local info = redis.pcall('INFO', 'server')
info = type(info) == 'string' and info or ''
local run, up = info:match('run_id:(%w+)') or '', tonumber(info:match('uptime_in_seconds:(%d+)')) or 0
local names = {'per', 'head', 'tail', 'used', 'paused', 'part', 'refused', 'clean', 'cold', 'seen', 'gap', 'promised'}
local is, is_lost = {}, false
local born, ran = unpack(redis.call('HMGET', known, 'born', 'run'))
if born then
  for place, value in ipairs(redis.call('HMGET', known, unpack(names))) do is[names[place]] = tonumber(value) end
  if is.per ~= per then return redis.error_reply('WINDOW ' .. text(is.per)) end
  local keys = (is.used > 0 and 1 or 0) + (is.promised > 0 and 2 or 0)
  is_lost = run ~= ran or now + length < is.seen or redis.call('EXISTS', slots, members, shares) < keys
end

-- Where nothing is known, others may have sent until a moment ago.
if is_lost then redis.call('DEL', unpack(KEYS)) end
if born and not is_lost then
  if state ~= '' and state ~= born then is.cold = math.max(is.cold, tonumber(born) + window) end
else
  born = text(now)
  is = {per = per, head = 0, tail = slot - REACH + 1, used = 0, paused = 0, part = WHOLE, refused = 0, clean = now, promised = 0, seen = now, gap = 0}
  is.cold = (is_lost or state ~= '') and now + window or now - up * 1000000 + window
end
-- Where memory is full, this is refused before anything is changed.
redis.call('HSET', known, 'born', born, 'run', run)
-- After a silence of all, those who come back one by one go on alone until the last of them is here. What
-- was asked before may be read only now, and says nothing of whoever asked.
if now - is.seen > SILENCE then is.gap = now end
if alone > 0 and now - is.gap < SETTLE then is.cold = math.max(is.cold, now + SETTLE / 2) end

-- Each member has a share for when this server cannot be asked; all of them together are never more than one.
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', members, '-inf', text(now))) do
  is.promised = is.promised - (tonumber(redis.call('HGET', shares, gone)) or 0)
  redis.call('HDEL', shares, gone)
  redis.call('ZREM', members, gone)
end
local mine = tonumber(redis.call('HGET', shares, me))
local others = is.promised - (mine or 0)
if stay > 0 then
  redis.call('ZADD', members, text(now + stay), me)
  mine = mine or math.min(share, WHOLE - others)
  if now - tonumber(born) >= SETTLE then
    mine = math.min(math.floor(WHOLE / redis.call('ZCARD', members)), WHOLE - others)
  end
  redis.call('HSET', shares, me, text(mine))
else
  mine = 0
  redis.call('HDEL', shares, me)
  redis.call('ZREM', members, me)
  redis.call('ZREM', at_work, me)
end
is.promised = others + mine

-- A refusal pauses everybody, and shows that somebody else uses the quota, too.
if is.part < WHOLE and now - is.clean >= per then
  is.part, is.clean = math.min(WHOLE, is.part + MORE_A_WINDOW), now
end
if pause > 0 then
  if now >= math.max(is.paused, is.refused + math.min(per, 1000000)) then
    is.refused, is.part = now, math.max(LEAST, math.floor(is.part * LEFT_AFTER_REFUSAL))
  end
  is.paused = math.max(is.paused, now + pause)
  is.clean = is.paused
  redis.call('PUBLISH', known, text(is.paused))
end
local quota = math.max(1, math.floor(requests * is.part / WHOLE))
local pace = window / quota

-- What no window reaches any more is forgotten; what comes back may be handed out again, sooner than its turn.
while is.used > 0 and is.tail <= slot - REACH do
  is.used = is.used - in_slot(is.tail)
  redis.call('HDEL', slots, text(is.tail))
  is.tail = is.tail + 1
end
is.tail = math.max(is.tail, slot - REACH + 1)
for place = FIRST_CHANGE, #ARGV, 2 do
  local changed, change = tonumber(ARGV[place]), tonumber(ARGV[place + 1])
  if change > 0 then
    -- It has left, whatever time it is there.
    changed = math.min(changed, slot)
  else
    change = state == born and math.max(change, -in_slot(changed)) or 0
  end
  if changed >= is.tail and change ~= 0 then
    if redis.call('HINCRBY', slots, text(changed), change) == 0 then redis.call('HDEL', slots, text(changed)) end
    is.used = is.used + change
    if change < 0 then is.head = is.head + change * pace end
  end
end

-- Those who worked alone tell what they sent before anybody gets a permit, and have had their burst.
local ready = is.cold + REPORT
if now < ready then is.head = math.max(is.head, ready) end

-- Permits, each in the first slot after the pace's turn that no full window reaches.
local granted, order = {}, {}
redis.call('ZREMRANGEBYSCORE', at_work, '-inf', text(now))
local busy = redis.call('ZCARD', at_work) + (redis.call('ZSCORE', at_work, me) and 0 or 1)
-- Whoever has yet to tell what left gets none, nor does anybody during a pause.
local has_told = state == born or (state == '' and alone == 0)
if wanted > 0 and has_told and now >= ready and is.paused <= now + ahead then
  local at = math.max(is.head, now - BURST * per, is.paused)
  local soonest = math.max(now + lead, is.paused)
  local first, inside = is.tail, is.used
  -- Rounded up: with less than a share of the time between two questions, nobody would come to use it.
  for _ = 1, math.min(wanted, math.ceil(ahead / pace / busy)) do
    local turn = math.floor(math.max(at, soonest) / length)
    local free = turn
    while first <= free - REACH or inside >= quota do
      inside = inside - in_slot(first)
      free = math.max(free, first + REACH)
      first = first + 1
    end
    if free > turn then at = free * length end
    redis.call('HINCRBY', slots, text(free), 1)
    is.used, inside, at = is.used + 1, inside + 1, at + pace
    if not granted[free] then order[#order + 1] = free end
    granted[free] = (granted[free] or 0) + 1
  end
  is.head = at
  redis.call('ZADD', at_work, text(math.max(at, now) + ahead), me)
end

is.seen = now
local memory = {'born', born}
for _, name in ipairs(names) do
  memory[#memory + 1] = name
  memory[#memory + 1] = text(is[name])
end
redis.call('HSET', known, unpack(memory))
-- It is kept for as long as anybody is a member, whoever leaves.
local last = tonumber(redis.call('ZRANGE', members, -1, -1, 'WITHSCORES')[2]) or now
local kept = 3 * window + last - now + math.max(0, is.paused - now)
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, text(math.ceil(kept / 1000))) end

local answer = {now, born, is.cold, is.paused, mine, busy, is.part}
for _, free in ipairs(order) do
  answer[#answer + 1] = free
  answer[#answer + 1] = granted[free]
end
return answer
