-- Sets a scope's not-before mark for the whole fleet; a refusal also halves the calls in flight where no limit is known.
-- KEYS[1] hash of figures   KEYS[2] hash of state   KEYS[3] counter of changes
-- ARGV[1] the time in microseconds, '' in production   ARGV[2] how long, in microseconds   ARGV[3] the reason, a word
-- ARGV[4] '1' when a provider refused a call   ARGV[5] calls the asking worker has in flight in this scope
-- returns the mark in microseconds
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = tonumber(t[1]) * 1000000 + tonumber(t[2])
end
local function int(x) return string.format('%.0f', x) end

local length = tonumber(ARGV[2])
local state = redis.call('HMGET', KEYS[2], 'nb', 'aimd', 'aimd.cut', 'held', 'nb.len')
-- An old mark is never further ahead than it was long: the clock may have gone back since.
local old = math.min(tonumber(state[1]) or 0, now + (tonumber(state[5]) or 0))
local mark = math.max(old, now + length)
if length > 0 and mark == now + length then
  redis.call('HSET', KEYS[2], 'nb', int(mark), 'nb.len', int(length), 'nb.why', ARGV[3])
end
redis.call('HSETNX', KEYS[1], 'known', '1')

local figures = redis.call('HMGET', KEYS[1], 'rpm', 'tpm', 'input_tpm', 'output_tpm', 'concurrency')
local unknown = true
for n = 1, #figures do
  if figures[n] then unknown = false end
end
-- One halving a second: calls that were sent together are refused together.
if ARGV[4] == '1' and unknown and now - (tonumber(state[3]) or 0) >= 1000000 then
  local flying = math.max(tonumber(state[4]) or 0, tonumber(ARGV[5]))
  local limit = math.max(1, math.floor(math.min(tonumber(state[2]) or flying, flying) / 2))
  redis.call('HSET', KEYS[2], 'aimd', int(limit), 'aimd.ok', '0', 'aimd.cut', int(now))
end
redis.call('INCR', KEYS[3])
return int(mark)
