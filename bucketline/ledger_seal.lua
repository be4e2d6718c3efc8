-- Drops outcomes that a part now holds, for the owner of the newest claim only.
-- KEYS[1] hash of generations   KEYS[2] list of unsealed outcomes
-- ARGV[1] shard   ARGV[2] generation   ARGV[3] how many outcomes, from the oldest
-- returns how many outcomes stay, or -1 when a newer claim exists
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return -1 end
redis.call('LTRIM', KEYS[2], ARGV[3], -1)
return redis.call('LLEN', KEYS[2])
