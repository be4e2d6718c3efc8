-- Opens a batch's ledger, once.
-- KEYS[1] hash of the batch   KEYS[2] bitmap of recorded lines   KEYS[3] zset of batches   KEYS[4] bitmap of ended shards
-- KEYS[5] zset of unfinished batches
-- ARGV[1] batch id   ARGV[2] creation time, unix seconds   ARGV[3] bitmap of recorded lines   ARGV[4] bitmap of ended shards
-- ARGV[5] "1" where nothing of the batch can lie in the store that these bitmaps do not say   ARGV[6 ..] field, value …
-- returns 1 when opened, 0 when it was there already
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
for i = 6, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
if ARGV[5] == '1' then
  local info = redis.pcall('INFO', 'server')
  redis.call('HSET', KEYS[1], 'run', type(info) == 'string' and string.match(info, 'run_id:(%x+)') or '')
end
redis.call('UNLINK', KEYS[2], KEYS[4])
if ARGV[3] ~= '' then redis.call('SET', KEYS[2], ARGV[3]) end
if ARGV[4] ~= '' then redis.call('SET', KEYS[4], ARGV[4]) end
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[5], ARGV[2], ARGV[1])
return 1
