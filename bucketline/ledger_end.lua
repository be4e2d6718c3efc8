-- Marks a shard as ended: for the owner of the newest claim, when no outcome is left unsealed, and once.
-- KEYS[1] hash of the batch   KEYS[2] hash of claims   KEYS[3] bitmap of ended shards
-- KEYS[4] list of unsealed outcomes   KEYS[5] hash of the shard's lines in hand
-- ARGV[1] shard   ARGV[2] generation
-- returns {how many shards are left}, or {"gone"} where there is no ledger, {"lost"} when a newer claim exists or the
--   batch has finished, {"unsealed"} when outcomes lie in the list
local known = redis.call('HMGET', KEYS[1], 'state', 'finished_s', 'shards_left')
if not known[1] then return {'gone'} end
local newest = tonumber(redis.call('HGET', KEYS[2], ARGV[1])) or 0
if known[2] or newest > tonumber(ARGV[2]) then return {'lost'} end
if redis.call('LLEN', KEYS[4]) > 0 then return {'unsealed'} end
if redis.call('SETBIT', KEYS[3], ARGV[1], 1) == 1 then return {tonumber(known[3]) or 0} end
redis.call('UNLINK', KEYS[5])
return {redis.call('HINCRBY', KEYS[1], 'shards_left', -1)}
