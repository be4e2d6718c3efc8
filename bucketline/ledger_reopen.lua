-- Opens shards again whose parts turned out to lack lines.
-- KEYS[1] hash of the batch   KEYS[2] bitmap of recorded lines   KEYS[3] bitmap of ended shards
-- ARGV[1] number of field arguments F   ARGV[2 .. 1+F] field, value …   ARGV[2+F] number of shards S   then the shards,
--   then the lines that they lack
-- returns how many shards are left, or -1 where there is no ledger or the batch has finished
local known = redis.call('HMGET', KEYS[1], 'state', 'finished_s')
if not known[1] or known[2] then return -1 end
local fields = tonumber(ARGV[1])
for i = 2, 1 + fields, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
local first = 3 + fields
local shards = tonumber(ARGV[2 + fields])
for i = first, first + shards - 1 do
  if redis.call('SETBIT', KEYS[3], ARGV[i], 0) == 1 then redis.call('HINCRBY', KEYS[1], 'shards_left', 1) end
end
for i = first + shards, #ARGV do redis.call('SETBIT', KEYS[2], ARGV[i], 0) end
redis.call('HDEL', KEYS[1], 'run')
return tonumber(redis.call('HGET', KEYS[1], 'shards_left'))
