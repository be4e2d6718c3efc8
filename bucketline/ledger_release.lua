-- Takes a claim back that came to no harm: the worker lives, or gives the shard up in order.
-- KEYS[1] hash of the batch   KEYS[2] hash of claims   KEYS[3] hash of the shard's lines in hand
-- ARGV[1] shard   ARGV[2 ..] line, what it was weighed with when taken in hand, …
-- returns 1, or 0 where the batch is over or unknown
local known = redis.call('HMGET', KEYS[1], 'state', 'finished_s')
if not known[1] or known[2] then return 0 end
local strikes = ARGV[1] .. ':strikes'
if (tonumber(redis.call('HGET', KEYS[2], strikes)) or 0) > 0 then redis.call('HINCRBY', KEYS[2], strikes, -1) end
for i = 2, #ARGV, 2 do redis.call('HINCRBY', KEYS[3], ARGV[i], -ARGV[i + 1]) end
return 1
