-- Claims a shard: a new generation, and all that is known of its lines.
-- KEYS[1] hash of the batch   KEYS[2] bitmap of recorded lines   KEYS[3] hash of generations
-- KEYS[4] list of unsealed outcomes   KEYS[5] bitmap of ended shards
-- ARGV[1] shard   ARGV[2] first byte of the bitmap   ARGV[3] last byte of the bitmap
-- returns {"gone"} where there is no ledger, {"ended"} where nothing is left to do, else
--   {"ok", generation, bitmap bytes, {unsealed outcome …}}
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return {'gone'} end
if redis.call('HEXISTS', KEYS[1], 'finished_s') == 1 or redis.call('GETBIT', KEYS[5], ARGV[1]) == 1 then
  return {'ended'}
end
-- Generations follow the clock, so that they grow even after Redis was emptied: parts are named by them.
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local generation = math.max((tonumber(redis.call('HGET', KEYS[3], ARGV[1])) or 0) + 1, now_us)
generation = string.format('%.0f', generation)
redis.call('HSET', KEYS[3], ARGV[1], generation)
local bits = redis.call('GETRANGE', KEYS[2], ARGV[2], ARGV[3])
return {'ok', generation, bits, redis.call('LRANGE', KEYS[4], 0, -1)}
