-- Extend leases that are still current.
-- KEYS  1 deadlines, 2 tokens, 3 refs
-- ARGV  1 lease ms, then pairs of stored message and token
-- reply a list of 1 (extended) or 0 (the lease was lost), in the order given
-- cost  O(log N) for each lease
--#include base
--#include types
--#include admit
local wrong = check({ KEYS[1], 'zset', KEYS[2], 'hash', KEYS[3], 'hash' })
if wrong then return wrong end
admit(KEYS[3])
local deadline = now_ms() + ARGV[1]
local renewed = {}
for i = 2, #ARGV, 2 do
  local current = call('HGET', KEYS[2], ARGV[i]) == ARGV[i + 1]
  if current then call('ZADD', KEYS[1], deadline, ARGV[i]) end
  renewed[#renewed + 1] = current and 1 or 0
end
return renewed
