-- Says of each of several contents which line of the batch is sent for all of its equals.
-- KEYS[n] hash of a share of the batch's contents: content → line
-- ARGV[1] how long the hashes are kept, ms
-- then for each key three: content, the asking line, the line that it would take the place of (0: none)
-- returns the line that is sent for each: the asker itself, or an equal that came first
local answer = {}
for n = 1, #KEYS do
  local content, line, gone = ARGV[3 * n - 1], ARGV[3 * n], ARGV[3 * n + 1]
  local first = redis.call('HGET', KEYS[n], content)
  if not first or first == gone then
    redis.call('HSET', KEYS[n], content, line)
    first = line
  end
  redis.call('PEXPIRE', KEYS[n], ARGV[1])
  answer[n] = tonumber(first)
end
return answer
