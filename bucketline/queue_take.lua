-- Takes tickets up: those that are on the queue and that nobody runs get arq's mark.
-- KEYS[1] the queue   KEYS[2 ..] arq's mark of each job
-- ARGV[1] the mark's life, ms   ARGV[2 ..] the jobs, in the order of their marks
-- returns the rank of each job that was taken up, "" for each other
local answer = {}
for i = 2, #KEYS do
  local rank = redis.call('ZSCORE', KEYS[1], ARGV[i])
  local taken = rank and redis.call('SET', KEYS[i], '1', 'NX', 'PX', ARGV[1])
  answer[i - 1] = taken and rank or ''
end
return answer
