-- Drops outcomes that a part now holds, for the owner of the newest claim only.
-- KEYS[1] hash of the batch   KEYS[2] hash of claims   KEYS[3] list of unsealed outcomes
-- ARGV[1] shard   ARGV[2] generation   ARGV[3] how many outcomes, from the oldest   ARGV[4] the first one's line
-- ARGV[5] the last one's line
-- returns {how many outcomes stay}, or {"gone"} where there is no ledger, {"lost"} when a newer claim exists or the
--   batch has finished, {"other"} when the list does not begin with these outcomes: it is never trimmed by count alone,
--   since a step whose answer was lost may be asked for again
local known = redis.call('HMGET', KEYS[1], 'state', 'finished_s')
if not known[1] then return {'gone'} end
local newest = tonumber(redis.call('HGET', KEYS[2], ARGV[1])) or 0
if known[2] or newest > tonumber(ARGV[2]) then return {'lost'} end
-- A claim that Redis has forgotten stands again.
if newest < tonumber(ARGV[2]) then redis.call('HSET', KEYS[2], ARGV[1], ARGV[2]) end
local function line_at(index)
  local outcome = redis.call('LINDEX', KEYS[3], index)
  return outcome and string.match(outcome, '^%d+')
end
if line_at(0) ~= ARGV[4] or line_at(tonumber(ARGV[3]) - 1) ~= ARGV[5] then return {'other'} end
redis.call('LTRIM', KEYS[3], ARGV[3], -1)
return {redis.call('LLEN', KEYS[3])}
