-- Notes what calls showed about circuits, and answers how each stands.
-- KEYS[n] hash of a circuit
-- ARGV[1] window, ms   ARGV[2] failures that open   ARGV[3] first pause, ms   ARGV[4] longest pause, ms
-- ARGV[5] a probe's longest life, ms
-- then for each key six: answered calls, failed calls, kind that opens it ("" for none), for how many ms (0: until an
--   operator resumes it), outcome of a probe ("", "ok", "failed"), 1 when a caller would probe
-- returns for each key {state, kind, ms left}: "closed", "open" (-1 ms: until an operator) or "probe" (it is yours)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local window, opens = tonumber(ARGV[1]) * 1000, tonumber(ARGV[2])
local first, longest, probe_life = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

local function open(key, kind, for_ms, pause_ms)
  local until_us = for_ms == 0 and 0 or now + for_ms * 1000
  redis.call('HSET', key, 'kind', kind, 'until_us', string.format('%.0f', until_us), 'pause_ms', pause_ms,
    'probe_us', 0, 'ok', 0, 'failed', 0)
  return {'open', kind, for_ms == 0 and -1 or for_ms}
end

local function count(key, ok, failed)
  local h = redis.call('HMGET', key, 'since_us', 'ok', 'failed')
  local since, oks, fails = tonumber(h[1]) or 0, tonumber(h[2]) or 0, tonumber(h[3]) or 0
  if now - since > window then since, oks, fails = now, 0, 0 end
  oks, fails = oks + ok, fails + failed
  if fails >= opens and fails >= oks then return open(key, 'failing', first, first) end
  redis.call('HSET', key, 'since_us', string.format('%.0f', since), 'ok', oks, 'failed', fails)
  redis.call('PEXPIRE', key, 86400000)
  return {'closed', '', 0}
end

local answer = {}
for i = 1, #KEYS do
  local key, at = KEYS[i], 6 + 6 * (i - 1)
  local ok, failed, kind, for_ms = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2], tonumber(ARGV[at + 3])
  local probed, would_probe = ARGV[at + 4], ARGV[at + 5] == '1'
  local h = redis.call('HMGET', key, 'kind', 'until_us', 'pause_ms', 'probe_us')
  local present, until_us = h[1], tonumber(h[2]) or 0
  local pause, probe = tonumber(h[3]) or first, tonumber(h[4]) or 0
  if kind ~= '' then
    redis.call('PERSIST', key)
    answer[i] = open(key, kind, for_ms, pause)
  elseif present and probed == 'ok' then
    redis.call('DEL', key)
    answer[i] = {'closed', '', 0}
  elseif present and probed == 'failed' then
    local longer = math.min(longest, 2 * pause)
    answer[i] = open(key, present, longer, longer)
  elseif present then
    if until_us > 0 and now >= until_us and would_probe and now >= probe then
      redis.call('HSET', key, 'probe_us', string.format('%.0f', now + probe_life * 1000))
      answer[i] = {'probe', present, 0}
    else
      local left = until_us == 0 and -1 or math.max(1, math.ceil((math.max(until_us, probe) - now) / 1000))
      answer[i] = {'open', present, left}
    end
  elseif ok + failed > 0 then
    answer[i] = count(key, ok, failed)
  else
    answer[i] = {'closed', '', 0}
  end
end
return answer
