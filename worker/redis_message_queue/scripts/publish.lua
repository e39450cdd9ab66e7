-- Publish unless a message with the same deduplication key was published within its time to live.
-- KEYS  1 deduplication marker, 2 pending, 3 replay record of this call
-- ARGV  1 marker TTL s, 2 stored message, 3 replay TTL ms, 4 cap of pending or '', 5 overload policy
-- reply 1 published, 0 duplicate, -1 pending is full
-- cost  O(1)
local wrong = check({ KEYS[1], 'string', KEYS[2], 'list', KEYS[3], 'string' })
if wrong then return wrong end

local before = call('GET', KEYS[3])
if before then return tonumber(before) end

local function answer(result)
  call('SET', KEYS[3], result, 'PX', ARGV[3])
  return result
end

local cap = tonumber(ARGV[4])
if cap then
  if call('EXISTS', KEYS[1]) == 1 then return answer(0) end
  if call('LLEN', KEYS[2]) >= cap then
    if ARGV[5] ~= 'drop_oldest' then return -1 end
    call('RPOP', KEYS[2])
  end
end

local marked = pcall_redis('SET', KEYS[1], '', 'NX', 'EX', ARGV[1])
if not marked then return answer(0) end
if marked.err then return redis.error_reply('OOM during publish; nothing was written: ' .. marked.err) end
local pushed = pcall_redis('LPUSH', KEYS[2], ARGV[2])
if type(pushed) == 'table' then
  call('DEL', KEYS[1])
  return redis.error_reply('OOM during publish; the deduplication marker was removed: ' .. pushed.err)
end
return answer(1)
