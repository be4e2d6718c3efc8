-- Adds what calls showed of routes to the fleet's sums, which fade with time, and answers the sums.
-- KEYS[n] hash of a route's sums
-- ARGV[1] half-life, ms   ARGV[2] how long a route without calls is remembered, ms
-- then for each key: a number N, and N times a field and what is added to it
-- returns for each key {field, sum, …}
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local answer, at = {}, 3
for k = 1, #KEYS do
  local raw = redis.call('HGETALL', KEYS[k])
  local sums, since = {}, now
  for n = 1, #raw, 2 do
    if raw[n] == 'at_ms' then since = tonumber(raw[n + 1]) else sums[raw[n]] = tonumber(raw[n + 1]) end
  end
  local fields = 2 * tonumber(ARGV[at])
  if fields > 0 then
    local faded = 0.5 ^ (math.max(0, now - since) / tonumber(ARGV[1]))
    for name, sum in pairs(sums) do sums[name] = sum * faded end
    for n = at + 1, at + fields, 2 do sums[ARGV[n]] = (sums[ARGV[n]] or 0) + tonumber(ARGV[n + 1]) end
    local written, gone = {'at_ms', string.format('%.0f', now)}, {}
    for name, sum in pairs(sums) do
      if sum < 0.001 then
        gone[#gone + 1] = name
        sums[name] = nil
      else
        written[#written + 1] = name
        written[#written + 1] = string.format('%.6g', sum)
      end
    end
    if #gone > 0 then redis.call('HDEL', KEYS[k], unpack(gone)) end
    redis.call('HSET', KEYS[k], unpack(written))
    redis.call('PEXPIRE', KEYS[k], ARGV[2])
  end
  at = at + fields + 1
  local told = {}
  for name, sum in pairs(sums) do
    told[#told + 1] = name
    told[#told + 1] = string.format('%.6g', sum)
  end
  answer[k] = told
end
return answer
