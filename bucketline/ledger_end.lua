-- Marks a shard as ended, for the owner of the newest claim only, and once.
-- KEYS[1] hash of the batch   KEYS[2] hash of generations   KEYS[3] bitmap of ended shards
-- ARGV[1] shard   ARGV[2] generation
-- returns how many shards are left, or -1 when a newer claim exists or the ledger is gone
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return -1 end
if redis.call('SETBIT', KEYS[3], ARGV[1], 1) == 1 then
  return tonumber(redis.call('HGET', KEYS[1], 'shards_left') or -1)
end
return redis.call('HINCRBY', KEYS[1], 'shards_left', -1)
