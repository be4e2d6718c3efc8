-- Lowers a bucket to what a provider says is left; never raises it.
-- KEYS[1] hash of figures   KEYS[2] hash of state
-- ARGV[1] figure (rpm, tpm, input_tpm, output_tpm)   ARGV[2] its letter in the state (q, t, i, o)   ARGV[3] what is left
-- returns the bucket's level in millionths, or nil where no such limit is in force
-- Nothing left means that somebody else spends from the account too: the bucket then owes one burst.
local limit = tonumber(redis.call('HGET', KEYS[1], ARGV[1]))
local level = tonumber(redis.call('HGET', KEYS[2], ARGV[2] .. '.level'))
if not limit or not level then return nil end
local seconds = (tonumber(redis.call('HGET', KEYS[1], 'burst_ms')) or 1000) / 60000
local left = tonumber(ARGV[3]) * 1000000
if left <= 0 then left = -math.floor(math.max(limit * seconds, 1) * 1000000) end
level = math.min(level, left)
redis.call('HSET', KEYS[2], ARGV[2] .. '.level', string.format('%.0f', level))
return string.format('%.0f', level)
