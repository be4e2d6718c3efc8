-- Notes what calls showed about circuits, and answers how each stands.
-- KEYS[n] hash of a circuit
-- ARGV[1] window, ms   ARGV[2] weight of failures that opens   ARGV[3] first pause, ms   ARGV[4] longest pause, ms
-- ARGV[5] a probe's longest life, ms
-- then for each key six: weight of answered calls, of failed calls, kind that opens it ("" for none), for how many ms (0: until an
--   operator resumes it; "failing" has the first pause), outcome of a probe ("", "ok", "failed", "back": it was not
--   sent), 1 when a caller would probe
-- returns for each key {state, kind, ms left, ms since it opened}: "closed", "open" (-1 ms: until an operator) or
--   "probe" (it is yours)
-- The fields of a circuit: ok, failed, since_us (the window); while it is open also kind, until_us (0: an operator),
--   pause_ms, probe_us (until when a probe is under way), opened_us.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local window, opens = tonumber(ARGV[1]) * 1000, tonumber(ARGV[2])
local first, longest, probe_life = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local A_DAY = 86400000

local function int(x) return string.format('%.0f', x) end

local function open(key, kind, for_ms, pause_ms, opened_us)
  local until_us = for_ms == 0 and 0 or now + for_ms * 1000
  redis.call('HSET', key, 'kind', kind, 'until_us', int(until_us), 'pause_ms', int(pause_ms), 'probe_us', 0,
    'opened_us', int(opened_us), 'ok', 0, 'failed', 0)
  if for_ms == 0 then redis.call('PERSIST', key) else redis.call('PEXPIRE', key, int(for_ms + 7 * A_DAY)) end
  return {'open', kind, for_ms == 0 and -1 or for_ms, math.floor((now - opened_us) / 1000)}
end

local function count(key, ok, failed)
  local h = redis.call('HMGET', key, 'since_us', 'ok', 'failed')
  local since, oks, fails = tonumber(h[1]) or 0, tonumber(h[2]) or 0, tonumber(h[3]) or 0
  if now - since > window then since, oks, fails = now, 0, 0 end
  oks, fails = oks + ok, fails + failed
  if fails >= opens and fails > oks then return open(key, 'failing', first, first, now) end
  redis.call('HSET', key, 'since_us', int(since), 'ok', oks, 'failed', fails)
  redis.call('PEXPIRE', key, A_DAY)
  return {'closed', '', 0, 0}
end

local function stand(key, would_probe, kind, h)
  local until_us, probe, opened = tonumber(h[2]) or 0, tonumber(h[4]) or 0, tonumber(h[5]) or now
  local age = math.floor((now - opened) / 1000)
  if until_us > 0 and now >= until_us and now >= probe and would_probe then
    redis.call('HSET', key, 'probe_us', int(now + probe_life * 1000))
    return {'probe', kind, 0, age}
  end
  local left = until_us == 0 and -1 or math.max(1, math.ceil((math.max(until_us, probe) - now) / 1000))
  return {'open', kind, left, age}
end

local answer = {}
for i = 1, #KEYS do
  local key, at = KEYS[i], 6 + 6 * (i - 1)
  local ok, failed, kind, for_ms = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2], tonumber(ARGV[at + 3])
  local probed, would_probe = ARGV[at + 4], ARGV[at + 5] == '1'
  local h = redis.call('HMGET', key, 'kind', 'until_us', 'pause_ms', 'probe_us', 'opened_us')
  local present, opened = h[1], tonumber(h[5]) or now
  if kind == 'failing' and present then
    answer[i] = stand(key, would_probe, present, h)
  elseif kind == 'failing' then
    answer[i] = open(key, kind, first, first, now)
  elseif kind ~= '' then
    answer[i] = open(key, kind, for_ms, first, present and opened or now)
  elseif present and probed == 'ok' then
    redis.call('DEL', key)
    answer[i] = {'closed', '', 0, 0}
  elseif present and probed == 'failed' then
    local longer = math.max(first, math.min(longest, 2 * (tonumber(h[3]) or first)))
    answer[i] = open(key, present, longer, longer, opened)
  elseif present then
    if probed == 'back' then
      redis.call('HSET', key, 'probe_us', 0)
      h[4] = false
    end
    answer[i] = stand(key, would_probe, present, h)
  elseif ok + failed > 0 then
    answer[i] = count(key, ok, failed)
  else
    answer[i] = {'closed', '', 0, 0}
  end
end
return answer
