-- Records outcomes of one batch: the first one of a line counts, and counters and money move with it.
-- KEYS[1] hash of the batch   KEYS[2] bitmap of recorded lines   KEYS[3] bitmap of ended shards
-- KEYS[4..] list of unsealed outcomes, one a shard
-- ARGV: for each shard in KEYS order: shard, N, the sums of its N outcomes as seven numbers
--   "completed failed cancelled attempts nanousd unpriced tokens", then N times: line, the same seven numbers, outcome,
--   which is empty where a part holds it already
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
  local first = at + 3
  local result, outcomes, taken = {0}, {}, 0
  if redis.call('GETBIT', KEYS[3], ARGV[at]) == 1 then
    for i = 1, n do result[i + 1] = i end
  else
    local bits = {}
    for i = 0, n - 1 do
      bits[#bits + 1] = 'SET'
      bits[#bits + 1] = 'u1'
      bits[#bits + 1] = ARGV[first + 3 * i]
      bits[#bits + 1] = 1
    end
    local before = redis.call('BITFIELD', KEYS[2], unpack(bits))
    for i = 0, n - 1 do
      if before[i + 1] == 0 then
        taken = taken + 1
        local outcome = ARGV[first + 3 * i + 2]
        if outcome ~= '' then outcomes[#outcomes + 1] = outcome end
      else
        result[#result + 1] = i + 1
      end
    end
    if taken == n then
      add(total)
    else
      for i = 0, n - 1 do
        if before[i + 1] == 0 then add(ARGV[first + 3 * i + 1]) end
      end
    end
  end
  if #outcomes > 0 then
    result[1] = redis.call('RPUSH', KEYS[k], unpack(outcomes))
  else
    result[1] = redis.call('LLEN', KEYS[k])
  end
  answer[#answer + 1] = result
  at = first + 3 * n
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
