-- Renews one process's marks of running jobs, and tells how its shards stand.
-- KEYS for each shard: arq's mark, hash of claims, list of unsealed outcomes
-- ARGV[1] owner   ARGV[2] the mark's life, ms   ARGV[3 ..] shard, one for each three keys
-- returns {the server's run id, or "" where INFO is not allowed, then for each shard
--   {1 where the mark is ours, else 0, newest generation or "", unsealed outcomes}}
-- A mark of "1" is arq's, set as it picks a job up: whoever puts a name there first has the shard.
local info = redis.pcall('INFO', 'server')
local answer = {type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''}
for i = 1, #KEYS, 3 do
  local mark, mine = redis.call('GET', KEYS[i]), 0
  if mark == ARGV[1] then
    redis.call('PEXPIRE', KEYS[i], ARGV[2])  -- allowed where memory is full, as SET is not
    mine = 1
  elseif not mark or mark == '1' then
    redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2])
    mine = 1
  end
  local shard = ARGV[3 + (i - 1) / 3]
  answer[#answer + 1] = {mine, redis.call('HGET', KEYS[i + 1], shard) or '', redis.call('LLEN', KEYS[i + 2])}
end
return answer
