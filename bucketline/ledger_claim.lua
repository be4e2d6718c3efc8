-- Claims a shard: a new generation, and all that is known of its lines.
-- KEYS[1] hash of the batch   KEYS[2] bitmap of recorded lines   KEYS[3] hash of claims
-- KEYS[4] list of unsealed outcomes   KEYS[5] bitmap of ended shards   KEYS[6] arq's mark of the running job
-- ARGV[1] shard   ARGV[2] first byte of the bitmap   ARGV[3] last byte of the bitmap
-- ARGV[4] a word for this claim: asked again with it, the answer is the same   ARGV[5] owner, as it stands in the mark
-- returns {"gone"} where there is no ledger, {"ended"} where nothing is left to do, {"held"} where another has the mark,
--   else {"ok", generation, bitmap bytes, {unsealed outcome …}, earlier claims that neither ended nor were handed back,
--   1 where parts of the shard may lie in the store that the bitmap does not know, 1 where another claim was before}
local known = redis.call('HMGET', KEYS[1], 'state', 'finished_s', 'run')
if not known[1] then return {'gone'} end
if known[2] or redis.call('GETBIT', KEYS[5], ARGV[1]) == 1 then return {'ended'} end
local mark = redis.call('GET', KEYS[6])
if mark and mark ~= ARGV[5] then return {'held'} end

local word, strikes = ARGV[1] .. ':word', ARGV[1] .. ':strikes'
local before = redis.call('HMGET', KEYS[3], ARGV[1], word, strikes)
local generation, struck = before[1], tonumber(before[3]) or 0
if before[2] == ARGV[4] then
  struck = struck - 1
else
  -- Generations follow the clock, so that they grow even after Redis was emptied: parts are named by them.
  local time = redis.call('TIME')
  local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
  generation = string.format('%.0f', math.max((tonumber(before[1]) or 0) + 1, now_us))
  redis.call('HSET', KEYS[3], ARGV[1], generation, word, ARGV[4], strikes, struck + 1)
end
-- A server that was started anew, or took over from another, may have forgotten the last seconds.
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
local doubt = (before[1] or known[3] ~= run) and 1 or 0
local bits = redis.call('GETRANGE', KEYS[2], ARGV[2], ARGV[3])
return {'ok', generation, bits, redis.call('LRANGE', KEYS[4], 0, -1), struck, doubt, before[1] and 1 or 0}
