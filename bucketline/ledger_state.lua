-- Moves a batch to another state, when the one it is in allows it.
-- KEYS[1] hash of the batch
-- ARGV[1] new state   ARGV[2] number of allowed present states A   ARGV[3 .. 2+A] allowed present state …
-- ARGV[3+A ..] field, value … set together with the state
-- returns {1, new state}, {0, present state} when it is not allowed, or {-1} when there is no ledger
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return {-1} end
local allowed = tonumber(ARGV[2])
for i = 3, 2 + allowed do
  if ARGV[i] == state then
    redis.call('HSET', KEYS[1], 'state', ARGV[1])
    for f = 3 + allowed, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[f], ARGV[f + 1]) end
    return {1, ARGV[1]}
  end
end
return {0, state}
