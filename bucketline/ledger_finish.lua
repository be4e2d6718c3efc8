-- Closes a batch for good: its manifest is in the store and says what the ledger says from now on.
-- KEYS[1] hash of the batch   KEYS[2] zset of unfinished batches   KEYS[3 ..] what only a running batch needs
-- ARGV[1] batch id   ARGV[2 ..] field, value …
-- returns 1, or 0 where there is no ledger
redis.call('ZREM', KEYS[2], ARGV[1])
for i = 3, #KEYS do redis.call('UNLINK', KEYS[i]) end
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
