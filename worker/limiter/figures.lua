-- Writes one source's figures for a scope, and from all sources the ones in force.
-- KEYS[1] hash of figures   KEYS[2] hash of state   KEYS[3] set of scopes   KEYS[4] counter of changes
-- ARGV[1] the scope's name, '' for a budget (not listed)   ARGV[2] the source: cfg (configuration), set (an operator), seen (the provider's headers)
-- ARGV[3..] figure, value: '' takes the source's value away
-- returns the figures in force as figure, value, …; then "aimd", value if the calls in flight are bound by what was
--   found out, and "nb", microseconds if the scope has a not-before mark
-- In force is the operator's figure, else the configured one, else none; the provider's word only lowers it.
local changed = redis.call('HSETNX', KEYS[1], 'known', '1')
for n = 3, #ARGV, 2 do
  local field = ARGV[2] .. '.' .. ARGV[n]
  local before = redis.call('HGET', KEYS[1], field)
  if ARGV[n + 1] == '' then
    if before then changed = redis.call('HDEL', KEYS[1], field) end
  elseif before ~= ARGV[n + 1] then
    redis.call('HSET', KEYS[1], field, ARGV[n + 1])
    changed = 1
  end
end
local answer, known = {}, false
for _, name in ipairs({'rpm', 'tpm', 'input_tpm', 'output_tpm', 'rpd', 'tpd', 'concurrency', 'burst_ms', 'budget'}) do
  local by = redis.call('HMGET', KEYS[1], 'set.' .. name, 'cfg.' .. name, 'seen.' .. name)
  local value = by[1] or by[2]
  if by[3] and (not value or tonumber(by[3]) < tonumber(value)) then value = by[3] end
  if value then
    redis.call('HSET', KEYS[1], name, value)
    known = known or (name ~= 'rpd' and name ~= 'tpd' and name ~= 'burst_ms')
    answer[#answer + 1] = name
    answer[#answer + 1] = value
  else
    redis.call('HDEL', KEYS[1], name)
  end
end
if known then redis.call('HDEL', KEYS[2], 'aimd') end  -- what was found out while nothing was known
for _, name in ipairs({'aimd', 'nb'}) do
  local value = redis.call('HGET', KEYS[2], name)
  if value then
    answer[#answer + 1] = name
    answer[#answer + 1] = value
  end
end
if ARGV[1] ~= '' then redis.call('SADD', KEYS[3], ARGV[1]) end
if changed ~= 0 then redis.call('INCR', KEYS[4]) end
return answer
