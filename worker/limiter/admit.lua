-- Admission, behind ``window.lua``, which keeps the minutes: settles what is over, then lets waiting requests through, in
-- order, as far as every limit of every scope allows. All or nothing for each request; nothing is decided elsewhere.
-- KEYS, four for each scope: hash of its figures, hash of its state, zset of who waits, zset of leases
-- ARGV[1] the time in microseconds, '' in production: the server's own
-- ARGV[2] who asks: one lane of one worker      ARGV[3] its waiting requests, a number for display
-- ARGV[4] "sequence scopes common priority age_us standing more": the first `common` scopes bind every request, the rest
--         are budgets; age of the asker's oldest waiter; requests that stand by, and how many more should
-- ARGV[5] for each scope "held reset_us nanousd": calls this lane has in flight, the next daily reset, money settled
--         (a difference)
-- ARGV[6] for each slot with settlements "slot requests input output_charged output_used successes": differences for
--         requests and input, negative where charges are given back
-- ARGV[7] for each request "input output nanousd budget": tokens, money, the number of its budget's scope or 0
-- returns {verdicts, over_us, again_us, now_us, slot, reason, scope, may_stand}: a letter for each request that was looked
--   at (g goes, a stands by and goes when a call of this lane ends, b waits for money that is reserved, x will find no
--   money); over what time to spread them, when to ask again (-1: nothing waits), what stands in the way, and in which
--   scope (from 1); 1 where those who stand by may still go, else they wait again
--   or {"unknown", scope} where a scope's figures are not in Redis: write them and ask again; nothing was changed

local FRESH = 2000000
local SPREAD, LATE = 250000, 1000000
local NAMES = {q = 'requests', t = 'tokens', i = 'input_tokens', o = 'output_tokens'}

local me = ARGV[2]
local ask, per_scope, settled, wanted = numbers(ARGV[4]), numbers(ARGV[5]), numbers(ARGV[6]), numbers(ARGV[7])
local sequence, count, common, priority, age, standing, more = unpack(ask)

local function day(s, reset)
  if not s['day.until'] or now >= s['day.until'] then
    s['day.from'], s.rd, s.td = s['day.until'] and now or 0, 0, 0
    s['day.until'] = reset
  elseif reset > now and reset < s['day.until'] then
    s['day.until'] = reset
  end
  s.rd, s.td = s.rd or 0, s.td or 0
end

-- Calls in flight: each lane says how many it has, so a lost message heals itself; a lane that is silent for a lease
-- has none.
local function leases(s, held)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', s.leases, '-inf', int(now))) do
    if member ~= me then
      s.held = (s.held or 0) - (tonumber(redis.call('HGET', s.key, 'h:' .. member)) or 0)
      redis.call('HDEL', s.key, 'h:' .. member, 's:' .. member, 'w:' .. member)
      redis.call('ZREM', s.leases, member)
      redis.call('ZREM', s.line, member)
    end
  end
  local before = tonumber(redis.call('HGET', s.key, 'h:' .. me)) or 0
  s.held = math.max(0, (s.held or 0) + held - before)
  s.mine = held
end

local function settle(s)
  local slot_now = math.floor(now / SLOT)
  for n = 1, #settled, 6 do
    local slot, requests, input, charged, used = settled[n], settled[n + 1], settled[n + 2], settled[n + 3], settled[n + 4]
    local ended = math.min(slot_now, slot + HOLD)
    put(s, 'q', slot, requests)
    put(s, 'i', slot, input)
    put(s, 't', slot, input)
    for _, d in ipairs({'t', 'o'}) do
      put(s, d, slot + HOLD, -charged)
      put(s, d, ended, used)
    end
    pace(s, 'q', requests)
    pace(s, 'i', input)
    pace(s, 'o', used - charged)
    pace(s, 't', input + used - charged)
    if slot * SLOT + SLOT > s['day.from'] then
      s.rd = math.max(0, s.rd + requests)
      s.td = math.max(0, s.td + input + used - charged)
    end
    if s.aimd then s['aimd.ok'] = (s['aimd.ok'] or 0) + settled[n + 5] end
  end
  if s.aimd and s['aimd.ok'] and s['aimd.ok'] >= s.aimd then
    s.aimd, s['aimd.ok'] = s.aimd + 1, 0
  end
end

local score = math.floor((now - age) / 1000) - priority * 1e13

-- Whether nobody who still asks came before us in this scope.
local function our_turn(s)
  while true do
    local line = redis.call('ZRANGE', s.line, 0, 1, 'WITHSCORES')
    local member, before = line[1], line[2]
    if member == me then member, before = line[3], line[4] end  -- our own mark may be of a request that has gone
    if not member or tonumber(before) >= score then return true end
    local seen = tonumber(string.match(redis.call('HGET', s.key, 'w:' .. member) or '', '^%d+'))
    if seen and now - seen <= FRESH then return false end
    redis.call('ZREM', s.line, member)
  end
end

local function is_full(s)
  local most = s.concurrency
  if s.aimd then most = math.min(most or s.aimd, s.aimd) end
  return most and s.held + 1 > most, most
end

-- How long until a request may go for this scope's own figures, but for a place: 0 now; and what it waits for.
local function wait_for(s, cost)
  local wait, why = 0, ''
  local function longer(us, reason)
    if us > wait then wait, why = us, reason end
  end
  for d, limit in pairs(s.limit) do
    local c, sum, level = cost[d], s[d .. '.sum'], s[d .. '.level']
    if c > 0 then
      -- Larger than the whole limit, or than the burst: it goes when all is empty, or full, and leaves a debt.
      local need = math.min(c * UNIT, s.burst[d])
      if sum > 0 and sum + c > limit then
        longer(math.max(SOON, (s.tail + 1) * SLOT + WINDOW - now), NAMES[d])
        -- Nothing is saved up while the window is full, else a burst and a lull would come back every minute.
        level = math.min(level, math.max(need, math.floor(limit * SLOT / 60)))
        s[d .. '.level'] = level
      end
      if need > level then longer(math.ceil((need - level) * 60 / limit), NAMES[d]) end
    end
  end
  local left = math.max(SOON, s['day.until'] - now)
  if s.rpd and s.rd + 1 > s.rpd then longer(left, 'requests_day') end
  if s.tpd and s.td > 0 and s.td + cost.t > s.tpd then longer(left, 'tokens_day') end
  if s.nb and s.nb > now then longer(s.nb - now, 'paused') end
  return wait, why
end

local function take(s, cost, places)
  local slot = math.floor(now / SLOT)
  put(s, 'q', slot, 1)
  put(s, 'i', slot, cost.i)
  put(s, 't', slot, cost.i)
  put(s, 't', slot + HOLD, cost.o)
  put(s, 'o', slot + HOLD, cost.o)
  for _, d in ipairs(DIMS) do pace(s, d, cost[d]) end
  s.rd, s.td = s.rd + 1, s.td + cost.t
  s.held, s.mine = s.held + places, s.mine + places
  s.usd = (s.usd or 0) + cost.usd
end

local function write(s, waits, again)
  local fields = {'h:' .. me, int(s.mine)}
  for _, name in ipairs(FIELDS) do
    if s[name] then
      fields[#fields + 1] = name
      fields[#fields + 1] = int(s[name])
    end
  end
  fields[#fields + 1] = 'w:' .. me
  fields[#fields + 1] = int(now) .. ' ' .. (waits and ARGV[3] or '0')
  fields[#fields + 1] = 'next'
  fields[#fields + 1] = waits and int(now + again) or '0'
  redis.call('HSET', s.key, unpack(fields))
  redis.call('PEXPIRE', s.key, 259200000)
  redis.call('ZADD', s.leases, int(now + LEASE), me)
  if waits then redis.call('ZADD', s.line, int(score), me) else redis.call('ZREM', s.line, me) end
end

local scopes = {}
for k = 1, count do
  scopes[k] = read(k)
  if not scopes[k] then return {'unknown', k} end
end
for k = 1, count do
  -- A clock that is slewed may stand still or go back by a hair; a step back is more.
  if scopes[k].at and scopes[k].at > now and scopes[k].at - now < SOON then now = scopes[k].at end
end
local seen = tonumber(redis.call('HGET', scopes[1].key, 's:' .. me)) or 0
for k, s in ipairs(scopes) do
  bring_up(s, sequence > 1)
  day(s, per_scope[3 * k - 1])
  leases(s, per_scope[3 * k - 2])
  if sequence ~= seen then
    if k <= common then settle(s) end
    s.usd = (s.usd or 0) + per_scope[3 * k]
  end
end
redis.call('HSET', scopes[1].key, 's:' .. me, int(sequence))

local turn = {}
local verdicts, over, again, reason, where = {}, 0, -1, '', 0
local spent = {q = 0, t = 0, i = 0, o = 0}
local waits = {}
for n = 1, #wanted, 4 do
  local cost = {q = 1, i = wanted[n], o = wanted[n + 1], t = wanted[n] + wanted[n + 1], usd = wanted[n + 2]}
  local purse = scopes[wanted[n + 3]]
  if purse and purse.budget and (purse.usd or 0) + cost.usd > purse.budget then
    verdicts[#verdicts + 1] = purse.held > 0 and 'b' or 'x'
  else
    local longest, full = 0, nil
    for k = 1, common do
      local wait, why = wait_for(scopes[k], cost)
      if turn[k] == nil then turn[k] = our_turn(scopes[k]) end
      if wait == 0 and not turn[k] then wait, why = SOON, 'order' end
      if wait > 0 then
        waits[k] = true
        if wait > longest then longest, reason, where = wait, why, k end
      end
      if is_full(scopes[k]) then full = full or k end
    end
    -- Ahead of its place goes whose turn it is, in a lane that has places of its own to hand on.
    local ahead = full and longest == 0 and more > 0 and standing < 2 * scopes[1].mine and not purse
    if full and not ahead then
      for k = full, common do waits[k] = waits[k] or is_full(scopes[k]) end
      if longest <= SOON then longest, reason, where = SOON, 'concurrency', full end
    end
    if longest > 0 then
      -- The more lanes came before, the less often one asks.
      local before = redis.call('ZCOUNT', scopes[where].line, '-inf', '(' .. int(score))
      again = math.min(LATE, math.max(longest, SOON * math.min(10, 1 + before)))
      break
    end
    for k = 1, common do take(scopes[k], cost, ahead and 0 or 1) end
    if purse then take(purse, cost, 1) end
    if ahead then
      more, standing = more - 1, standing + 1
      verdicts[#verdicts + 1] = 'a'
    else
      for d in pairs(spent) do spent[d] = spent[d] + cost[d] end
      verdicts[#verdicts + 1] = 'g'
    end
  end
end
local may_stand = 1
for k = 1, common do
  local s = scopes[k]
  local _, most = is_full(s)
  if (most and s.held > most) or (s.nb and s.nb > now) then may_stand = 0 end
end
for k = 1, common do
  -- A little faster than the pace, so that the next block is asked for in time.
  for d, limit in pairs(scopes[k].limit) do over = math.max(over, spent[d] * 48 * UNIT / limit) end
end
for k, s in ipairs(scopes) do write(s, waits[k], again) end
return {table.concat(verdicts), math.min(SPREAD, math.floor(over)), again, now, math.floor(now / SLOT), reason, where,
  may_stand}
