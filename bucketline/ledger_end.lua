-- Marks a shard as ended: for the owner of the newest claim, when every line of it is recorded and no outcome is left
-- unsealed, and once.
-- KEYS[1] hash of the batch   KEYS[2] hash of claims   KEYS[3] bitmap of ended shards
-- KEYS[4] list of unsealed outcomes   KEYS[5] hash of the shard's lines in hand   KEYS[6] bitmap of recorded lines
-- ARGV[1] shard   ARGV[2] generation   ARGV[3] first line   ARGV[4] last line   ARGV[5] how many lines it has
-- returns {how many shards are left}, or {"gone"} where there is no ledger, {"lost"} when a newer claim exists or the
--   batch has finished, {"unsealed"} when outcomes lie in the list, {"lacking"} when lines have no outcome: Redis may
--   have forgotten what another worker recorded
local known = redis.call('HMGET', KEYS[1], 'state', 'finished_s', 'shards_left')
if not known[1] then return {'gone'} end
local newest = tonumber(redis.call('HGET', KEYS[2], ARGV[1])) or 0
if known[2] or newest > tonumber(ARGV[2]) then return {'lost'} end
if redis.call('LLEN', KEYS[4]) > 0 then return {'unsealed'} end
local first, last = tonumber(ARGV[3]), tonumber(ARGV[4])
local byte, recorded = math.floor(first / 8), 0
local bits = redis.call('GETRANGE', KEYS[6], byte, math.floor(last / 8))
for i = 1, #bits do
  local value, line = string.byte(bits, i), (byte + i - 1) * 8 + 7
  while value > 0 do
    if value % 2 == 1 and line >= first and line <= last then recorded = recorded + 1 end
    value, line = math.floor(value / 2), line - 1
  end
end
if recorded < tonumber(ARGV[5]) then return {'lacking'} end
if redis.call('SETBIT', KEYS[3], ARGV[1], 1) == 1 then return {tonumber(known[3]) or 0} end
redis.call('UNLINK', KEYS[5])
return {redis.call('HINCRBY', KEYS[1], 'shards_left', -1)}
