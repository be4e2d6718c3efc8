-- The minutes of a scope: slots, sums and buckets. Not a script by itself: it stands before ``admit.lua``, whose KEYS and
-- ARGV it shares, and gives it `now`, `read`, `bring_up`, `put` and `pace`.
-- KEYS, four for each scope: hash of its figures, hash of its state, zset of who waits, zset of leases
-- ARGV[1] the time in microseconds, '' in production: the server's own
-- returns nothing
--
-- Minutes are exact: amounts lie in slots of a quarter second, "q:N" requests, "t:N" tokens,
-- "i:N" input, "o:N" output, and a slot leaves the sum only when all of it is older than a minute and the margin (the
-- margin is for the way to the provider, which is never equally long). Beside each sum a bucket evens the flow: it
-- fills at the limit's own pace up to the burst, in millionths, and may owe. Output lies in a slot HOLD later, or in
-- that of its settlement if this comes first: a provider may count it when the call begins or when it ends.

local WINDOW, SLOT, HOLD = 60750000, 250000, 20
local REFUND = 5   -- refunds may fill a bucket to so many bursts: the slots are the guard, the bucket only paces
local UNIT = 1000000
local DIMS = {'q', 't', 'i', 'o'}
local FIGURES = {'known', 'rpm', 'tpm', 'input_tpm', 'output_tpm', 'rpd', 'tpd', 'concurrency', 'burst_ms', 'budget'}
local FIELDS = {'at', 'tail', 'last', 'q.level', 't.level', 'i.level', 'o.level', 'q.sum', 't.sum', 'i.sum', 'o.sum',
  'held', 'rd', 'td', 'day.from', 'day.until', 'aimd', 'aimd.ok', 'nb', 'nb.len', 'usd'}
local LEASE = 15000000
local SOON = 10000

local function int(x) return string.format('%.0f', x) end
local function numbers(text)
  local list = {}
  for number in string.gmatch(text, '%-?%d+') do list[#list + 1] = tonumber(number) end
  return list
end

local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = tonumber(t[1]) * UNIT + tonumber(t[2])
end

local function read(k)
  local figures = redis.call('HMGET', KEYS[4 * k - 3], unpack(FIGURES))
  if not figures[1] then return nil end
  local state = redis.call('HMGET', KEYS[4 * k - 2], unpack(FIELDS))
  local s = {key = KEYS[4 * k - 2], line = KEYS[4 * k - 1], leases = KEYS[4 * k]}
  for n = 1, #FIELDS do s[FIELDS[n]] = tonumber(state[n]) end
  local burst = (tonumber(figures[9]) or 1000) / 60000
  s.limit = {q = tonumber(figures[2]), t = tonumber(figures[3]), i = tonumber(figures[4]), o = tonumber(figures[5])}
  s.burst = {}
  for d, limit in pairs(s.limit) do s.burst[d] = math.floor(math.max(limit * burst, 1) * UNIT) end
  s.rpd, s.tpd, s.concurrency = tonumber(figures[6]), tonumber(figures[7]), tonumber(figures[8])
  s.budget = tonumber(figures[10])
  return s
end

-- The server's clock went back (it was set, or a replica took over): all that was used counts as used just now, so that
-- nothing is forgotten and nobody waits for the old time.
local function step_back(s)
  for _, d in ipairs(DIMS) do
    for slot = s.tail, s.last do redis.call('HDEL', s.key, d .. ':' .. int(slot)) end
    if (s[d .. '.sum'] or 0) > 0 then
      redis.call('HSET', s.key, d .. ':' .. int(math.floor(now / SLOT)), int(s[d .. '.sum']))
    end
  end
  s.tail, s.last = math.floor(now / SLOT), math.floor(now / SLOT)
  for _, member in ipairs(redis.call('ZRANGE', s.leases, 0, -1)) do
    redis.call('ZADD', s.leases, int(now + LEASE), member)
  end
  redis.call('DEL', s.line)
  if s['day.from'] then s['day.from'] = math.min(s['day.from'], now) end
  s.at = now
end

-- Everything of a scope as of now. `lost`: the asker has asked before, so a state without a past was lost.
local function bring_up(s, lost)
  local fresh = s.at == nil
  s.at = s.at or now
  if s.at > now then step_back(s) end
  if s.nb then s.nb = math.min(s.nb, now + (s['nb.len'] or 0)) end
  local slot = math.floor(now / SLOT)
  s.tail, s.last = s.tail or slot, s.last or slot
  local gone = math.floor((now - WINDOW) / SLOT) - 1
  for n = s.tail, math.min(gone, s.last) do
    local names = {'q:' .. int(n), 't:' .. int(n), 'i:' .. int(n), 'o:' .. int(n)}
    local amounts = redis.call('HMGET', s.key, unpack(names))
    for p, d in ipairs(DIMS) do
      if amounts[p] then s[d .. '.sum'] = math.max(0, (s[d .. '.sum'] or 0) - tonumber(amounts[p])) end
    end
    redis.call('HDEL', s.key, unpack(names))
  end
  s.tail = math.max(s.tail, gone + 1)
  s.last = math.max(s.last, s.tail)
  local elapsed = math.min(now - s.at, WINDOW)
  -- While somebody waits, a second burst's room makes up for lanes that ask a little late.
  local room = redis.call('ZCARD', s.line) > 0 and 2 or 1
  for d, limit in pairs(s.limit) do
    local level, burst = s[d .. '.level'], s.burst[d]
    -- A bucket without a past starts full. If the asker has one, the state was lost: then it starts owing a burst. The
    -- flow before was even but for one burst, so going on evenly without another keeps every window.
    if not level then level = (fresh and lost) and -burst or burst end
    if level < room * burst then level = math.min(room * burst, math.floor(level + elapsed * limit / 60)) end
    s[d .. '.level'] = math.min(level, REFUND * burst)
    s[d .. '.sum'] = s[d .. '.sum'] or 0
  end
  s.at = now
end

-- An amount for a slot, negative to take back.
local function put(s, d, slot, amount)
  if amount == 0 or not s.limit[d] then return end
  if slot < s.tail then return end  -- older than the window: it counts no more
  local field = d .. ':' .. int(slot)
  if amount < 0 then
    amount = -math.min(-amount, tonumber(redis.call('HGET', s.key, field)) or 0)
  end
  if amount ~= 0 then
    redis.call('HINCRBY', s.key, field, int(amount))
    s[d .. '.sum'] = math.max(0, s[d .. '.sum'] + amount)
    s.last = math.max(s.last, slot)
  end
end

local function pace(s, d, amount)
  local name = d .. '.level'
  if s[name] then
    local level = s[name] - amount * UNIT
    s[name] = math.max(math.min(level, REFUND * s.burst[d]), math.min(level, s[name]))
  end
end
