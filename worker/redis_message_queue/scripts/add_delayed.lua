-- Publish for later; our consumers promote it to pending when it is due.
-- KEYS  1 delayed
-- ARGV  1 delay ms, then stored messages
-- reply number of messages added
-- cost  O(log N) for each message
--#include base
--#include types
local wrong = check({ KEYS[1], 'zset' })
if wrong then return wrong end
local due = now_ms() + ARGV[1]
local added = 0
for i = 2, #ARGV do
  added = added + call('ZADD', KEYS[1], due, ARGV[i])
end
return added
