-- Empty a list or the delayed set, with the delivery counts of what it held.
-- KEYS  1 list or sorted set, 2 delivery counts
-- reply number of entries that were there
-- cost  O(N)
--#include base
--#include types
local kind = call('TYPE', KEYS[1])['ok']
local wrong = check({ KEYS[1], kind == 'zset' and 'zset' or 'list', KEYS[2], 'hash' })
if wrong then return wrong end
local entries = kind == 'zset' and call('ZRANGE', KEYS[1], 0, -1) or call('LRANGE', KEYS[1], 0, -1)
if call('EXISTS', KEYS[2]) == 1 then
  for _, stored in ipairs(entries) do
    call('HDEL', KEYS[2], stored)
  end
end
call('UNLINK', KEYS[1])
return #entries
