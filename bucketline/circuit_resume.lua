-- Lets the next call of an open circuit through as a probe, whatever its pause was.
-- KEYS[1] hash of the circuit
-- returns 1, or 0 where it is not open
if redis.call('HEXISTS', KEYS[1], 'kind') == 0 then return 0 end
redis.call('HSET', KEYS[1], 'until_us', 1, 'probe_us', 0)
return 1
