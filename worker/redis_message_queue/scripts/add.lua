-- Publish without deduplication into a list with a cap.
-- KEYS  1 pending
-- ARGV  1 stored message, 2 cap, 3 overload policy
-- reply 1 published, -1 pending is full
-- cost  O(1)
--#include base
--#include types
--#include undo
local wrong = check({ KEYS[1], 'list' })
if wrong then return wrong end
if call('LLEN', KEYS[1]) >= tonumber(ARGV[2]) then
  if ARGV[3] ~= 'drop_oldest' then return -1 end
  local oldest = call('RPOP', KEYS[1])
  or_undo(pcall_redis('LPUSH', KEYS[1], ARGV[1]), 'RPUSH', KEYS[1], oldest)
else
  call('LPUSH', KEYS[1], ARGV[1])
end
return 1
