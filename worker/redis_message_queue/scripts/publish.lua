-- Publish, unless a message with the same deduplication key was published within its time to live.
-- KEYS  1 pending, 2 waiting (see lanes), and with a deduplication key 3 its marker, 4 replay record of this call, then
--       records of earlier calls that nobody needs any more
-- ARGV  1 stored message, 2 cap of pending or '', 3 overload policy, 4 marker TTL s, 5 replay TTL ms
-- reply 1 published, 0 duplicate, -1 pending is full
-- cost  O(1)
--#include base
--#include types
--#include guard
--#include holder
local pending, waiting, marker, record, cap = KEYS[1], KEYS[2], KEYS[3], KEYS[4], tonumber(ARGV[2])

local function wrong()
  return check(marker and { marker, 'string', pending, 'list', record, 'string' } or { pending, 'list' }) or check({ waiting, 'zset' })
end

local function answer(result)
  if record then call('SET', record, result, 'PX', ARGV[5]) end
  if KEYS[5] then call('DEL', unpack(KEYS, 5)) end
  return result
end

local function push(dropped)
  local pushed = pcall_redis('LPUSH', pending, ARGV[1])
  if type(pushed) ~= 'table' then return end
  if dropped then call('RPUSH', pending, dropped) end
  if not marker then return wrong() or redis.error_reply(pushed.err) end
  call('DEL', marker)
  local alien = wrong()
  if alien then return alien end
  local err, left = pushed.err, 'the deduplication marker was removed'
  --#include refused
end

if marker and call('EXISTS', marker, record) > 0 then
  local alien = wrong()
  if alien then return alien end
  local before = call('GET', record)
  return before and tonumber(before) or answer(0)
end
return guarded(wrong, function()
  local dropped
  if cap and call('LLEN', pending) + call('ZCARD', waiting) >= cap then
    if ARGV[3] ~= 'drop_oldest' then return -1 end
    dropped = call('RPOP', pending) or nil
  end
  local marked = marker and pcall_redis('SET', marker, holder_of(ARGV[1]), 'EX', ARGV[4])
  if marked and marked.err then
    if dropped then call('RPUSH', pending, dropped) end
    local err, left = marked.err, 'nothing was written'
    --#include refused
  end
  return push(dropped) or answer(1)
end)
