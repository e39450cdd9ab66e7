-- Publish one message, unless one with the same deduplication key was published within its time to live.
-- KEYS  1 pending, 2 waiting (see lanes), and for a call that may be repeated 3 its replay record, with a deduplication key
--       4 its marker, then records of earlier calls that nobody needs any more
-- ARGV  1 stored message, 2 cap of pending or '', 3 overload policy, 4 marker TTL s or '' without a marker, 5 replay TTL ms,
--       6 '1' to tell of a duplicate who holds the key
-- reply 1 published, 0 duplicate, -1 pending is full; if that is to be told, then for a duplicate '0', a line feed and the id
--       that the marker holds, '' where it holds none
-- cost  O(1)
--#include base
--#include holder
local pending, waiting, record, cap = KEYS[1], KEYS[2], KEYS[3], tonumber(ARGV[2])
local marker = tonumber(ARGV[4]) and KEYS[4]
local answered = marker and 5 or 4

local function wrong()
  --#include types
  return marker and check({ marker, 'string' }) or check({ pending, 'list' }) or record and check({ record, 'string' })
    or check({ waiting, 'zset' })
end

if record and call('EXISTS', record, marker or record) > 0 then
  local alien = wrong()
  if alien then return alien end
  local before = call('GET', record)
  if before then return #before == 1 and tonumber(before) or before end -- also '0\n' would be a number
  local answer = ARGV[6] == '1' and '0\n' .. (string.match(call('GET', marker), '^[!-~]+$') or '') or 0
  call('SET', record, answer, 'PX', ARGV[5])
  if KEYS[answered] then call('DEL', unpack(KEYS, answered)) end
  return answer
end
local function body()
  local dropped
  if cap and call('LLEN', pending) + call('ZCARD', waiting) >= cap then
    if ARGV[3] ~= 'drop_oldest' then return -1 end
    dropped = call('RPOP', pending) or nil
  end
  -- Memory may refuse the first write, an ACL any: then nothing of this call stays.
  local reply = record and pcall_redis('SET', record, 1, 'PX', ARGV[5]) or {}
  if marker and not reply.err then reply = pcall_redis('SET', marker, holder_of(ARGV[1]), 'EX', ARGV[4]) end
  if not reply.err then reply = pcall_redis('LPUSH', pending, ARGV[1]) end
  if type(reply) == 'table' then
    if dropped then call('RPUSH', pending, dropped) end
    if record then pcall_redis('DEL', record, marker or record) end -- a server that takes no writes has nothing to remove
    local alien = wrong()
    if alien then return alien end
    local err, left = reply.err, 'nothing was written'
    --#include refused
  end
  if KEYS[answered] then call('DEL', unpack(KEYS, answered)) end
  return 1
end
--#include guard
