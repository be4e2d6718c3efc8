-- Records outcomes of one batch: the first one of a line counts, and counters and money move with it.
-- KEYS[1] hash of the batch   KEYS[2] bitmap of recorded lines   KEYS[3] bitmap of ended shards
-- KEYS[4..] list of unsealed outcomes, one a shard
-- ARGV: for each shard in KEYS order: shard, N, the sums of its N outcomes as seven numbers
--   "completed failed cancelled attempts nanousd unpriced tokens", "line line …", the same seven numbers of each line
--   with a semicolon between, 1 where a part holds the outcomes already; then, unless it does, N outcomes
-- returns {"gone"} where there is no ledger, {"over"} where the batch has finished, else
--   {"ok", {list length, refused outcome's position from 1 …} for each shard}
-- Nothing is recorded in a shard that has ended.
local known = redis.call('HMGET', KEYS[1], 'state', 'finished_s')
if not known[1] then return {'gone'} end
if known[2] then return {'over'} end

local names = {'completed', 'failed', 'cancelled', 'attempts', 'nanousd', 'unpriced', 'tokens'}
local sums = {0, 0, 0, 0, 0, 0, 0}
local function add(text)
  local i = 1
  for number in string.gmatch(text, '%-?%d+') do
    sums[i] = sums[i] + tonumber(number)
    i = i + 1
  end
end

local answer = {'ok'}
local at = 1
for k = 4, #KEYS do
  local n = tonumber(ARGV[at + 1])
  local total = ARGV[at + 2]
  local stored = ARGV[at + 5] == '1'
  local first = at + 6
  local result, outcomes, taken = {0}, {}, 0
  if redis.call('GETBIT', KEYS[3], ARGV[at]) == 1 then
    for i = 1, n do result[i + 1] = i end
  else
    local bits, used = {}, 0
    for line in string.gmatch(ARGV[at + 3], '%d+') do
      bits[used + 1], bits[used + 2], bits[used + 3], bits[used + 4] = 'SET', 'u1', line, 1
      used = used + 4
    end
    local before = redis.call('BITFIELD', KEYS[2], unpack(bits))
    for i = 0, n - 1 do
      if before[i + 1] == 0 then
        taken = taken + 1
        if not stored then outcomes[taken] = ARGV[first + i] end
      else
        result[#result + 1] = i + 1
      end
    end
    if taken == n then
      add(total)
    else
      local i = 1
      for single in string.gmatch(ARGV[at + 4], '[^;]+') do
        if before[i] == 0 then add(single) end
        i = i + 1
      end
    end
  end
  if #outcomes > 0 then
    result[1] = redis.call('RPUSH', KEYS[k], unpack(outcomes))
  else
    result[1] = redis.call('LLEN', KEYS[k])
  end
  answer[#answer + 1] = result
  at = first + (stored and 0 or n)
end

local now = redis.call('HMGET', KEYS[1], unpack(names))
local fields = {}
for i = 1, #names do
  if sums[i] ~= 0 then
    fields[#fields + 1] = names[i]
    fields[#fields + 1] = string.format('%.0f', (tonumber(now[i]) or 0) + sums[i])
  end
end
if #fields > 0 then redis.call('HSET', KEYS[1], unpack(fields)) end
return answer
