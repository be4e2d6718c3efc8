-- Drops what is told of a name, if it is still this upload.
-- KEYS[1] hash: name -> upload   ARGV[1] name   ARGV[2] upload, as it was written
-- returns 1 when dropped, 0 when another upload stands there
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
