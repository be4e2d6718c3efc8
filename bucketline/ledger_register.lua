-- Opens a batch's ledger, once.
-- KEYS[1] hash of the batch   KEYS[2] bitmap of recorded lines   KEYS[3] zset of batches   KEYS[4] bitmap of ended shards
-- ARGV[1] batch id   ARGV[2] creation time, unix seconds   ARGV[3] number of hash fields F
-- ARGV[4 .. 3+2F] field, value …
-- ARGV[4+2F] number of recorded lines N   ARGV[5+2F ..] line …  then the ended shards …
-- returns 1 when opened, 0 when it was there already
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local fields = tonumber(ARGV[3])
for i = 4, 3 + 2 * fields, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
local lines = tonumber(ARGV[4 + 2 * fields])
local first = 5 + 2 * fields
for i = first, first + lines - 1 do redis.call('SETBIT', KEYS[2], ARGV[i], 1) end
for i = first + lines, #ARGV do redis.call('SETBIT', KEYS[4], ARGV[i], 1) end
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
return 1
