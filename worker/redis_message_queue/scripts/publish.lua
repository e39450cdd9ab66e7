-- Publish unless a message with the same deduplication key was published within its time to live.
-- KEYS  1 deduplication marker, 2 pending, 3 replay record of this call, then records of earlier calls that nobody
--       needs any more
-- ARGV  1 marker TTL s, 2 stored message, 3 replay TTL ms, 4 cap of pending or '', 5 overload policy
-- reply 1 published, 0 duplicate, -1 pending is full
-- cost  O(1)
--#include base
--#include guard
local marker, pending, record, cap = KEYS[1], KEYS[2], KEYS[3], tonumber(ARGV[4])

local function wrong()
  --#include types
  return check({ marker, 'string', pending, 'list', record, 'string' })
end

local function answer(result)
  call('SET', record, result, 'PX', ARGV[3])
  if KEYS[4] then call('DEL', unpack(KEYS, 4)) end
  return result
end

local function push()
  local pushed = pcall_redis('LPUSH', pending, ARGV[2])
  if type(pushed) ~= 'table' then return end
  call('DEL', marker)
  local alien = wrong()
  if alien then return alien end
  local err, left = pushed.err, 'the deduplication marker was removed'
  --#include refused
end

if call('EXISTS', marker, record) > 0 then
  local alien = wrong()
  if alien then return alien end
  local before = call('GET', record)
  return before and tonumber(before) or answer(0)
end
return guarded(wrong, function()
  if cap and call('LLEN', pending) >= cap then
    if ARGV[5] ~= 'drop_oldest' then return -1 end
    call('RPOP', pending)
  end
  local marked = pcall_redis('SET', marker, '', 'EX', ARGV[1])
  if marked.err then
    local err, left = marked.err, 'nothing was written'
    --#include refused
  end
  return push() or answer(1)
end)
