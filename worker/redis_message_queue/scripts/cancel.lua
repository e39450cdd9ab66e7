-- Cancel a message, in steps between which it is looked for: `mark` it, so that nobody starts it from now on; `take` it out
-- where it was found, or tell who has it in hand; or `forget` it, since it is nowhere or has ended.
-- KEYS  1 delayed, 2 pending, 3 processing, 4 tokens, 5 counts, 6 notes, 7 workers, 8 marks, 9 its result
-- ARGV  1 the step, 2 the message's id, 3 for how long marks are kept, in ms; and to take: 4 the message as it is stored,
--       5 where: delayed, pending or in_flight, 6 how many are before it, 7 its deduplication marker or ''
-- reply of mark its result or ''; of take `removed`, `requested`, or `moved` if it is not there; of forget its result or ''
-- cost  O(1); to take it O(distance from the nearer end of pending), or O(workers)
--#include base
--#include types
--#include envelope
--#include worker
--#include free_key
--#include result
--#include cancelled
--#include leased_by
--#include lane
local DELAYED, PENDING, PROCESSING, TOKENS, WORKERS, MARKS, RESULT = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[7], KEYS[8], KEYS[9]
local WAITING = PENDING .. ':waiting' -- see lanes
local step, id, ttl, stored, where, before, marker = unpack(ARGV)
local wrong = check({ DELAYED, 'zset', PENDING, 'list', PROCESSING, 'list', TOKENS, 'hash', KEYS[5], 'hash', KEYS[6], 'hash',
  WORKERS, 'hash', MARKS, 'hash', RESULT, 'list', WAITING, 'zset' })
if wrong then return wrong end
call('HDEL', MARKS, '') -- see admit

-- Marks of messages that ended elsewhere, as in workers of 7.0.0, are left behind. Many are looked at in turns.
local function prune(now)
  local marks = call('HSCAN', MARKS, '0', 'COUNT', 100)[2]
  for i = 1, #marks, 2 do
    if (tonumber(string.match(marks[i + 1], '^%d+')) or 0) < now - ttl then call('HDEL', MARKS, marks[i]) end
  end
end

if step == 'mark' then
  local now = now_ms()
  prune(now)
  call('HSET', MARKS, id, text(now) .. ' ' .. RESULT)
  call('PEXPIRE', MARKS, ttl)
  return call('LINDEX', RESULT, 0) or ''
elseif step == 'forget' then
  call('HDEL', MARKS, id)
  return call('LINDEX', RESULT, 0) or ''
elseif where == 'in_flight' then
  local token = call('HGET', TOKENS, stored)
  if not (token or call('LPOS', PROCESSING, stored)) then return 'moved' end
  -- From now on the mark is its own: another message under this id, as one that takes its place, may start.
  call('HSET', MARKS, redis.sha1hex(stored), text(now_ms()) .. ' ' .. RESULT)
  call('PEXPIRE', MARKS, ttl)
  call('HDEL', MARKS, id)
  if not token then return 'requested' end
  local worker = leased_by(WORKERS, token)
  local state = worker ~= '' and worker_state(call('HGET', WORKERS, worker))
  if state and not string.find((state.cancel or '') .. ' ', ' ' .. token .. ' ', 1, true) then
    state.cancel = (state.cancel or '') .. ' ' .. token
    call('HSET', WORKERS, worker, cjson.encode(state))
  end
  return 'requested'
end

local taken
if where == 'delayed' then
  taken = call('ZREM', DELAYED, stored)
else
  taken = call('LREM', PENDING, before * 2 < call('LLEN', PENDING) and -1 or 1, stored)
end
if where == 'pending' and lane_of(stored) then
  -- It is as far from the beginning of its lane as it was, or nearer.
  --#include lanes
  local lane, from = lane_of(stored), math.max(0, before - 100)
  local first, last = run_of(lane)
  local members = taken == 0 and call('ZRANGEBYLEX', WAITING, first, last, 'LIMIT', from, before - from + 1) or {}
  for _, member in ipairs(members) do
    if string.sub(member, #lane + 19) == stored then taken = call('ZREM', WAITING, member) end
  end
  if call('ZLEXCOUNT', WAITING, first, last) == 0 then call('ZREM', PENDING .. ':turns', lane) end
end
if taken == 0 then return 'moved' end
call('HDEL', KEYS[6], stored)
call('HDEL', MARKS, id, redis.sha1hex(stored))
if marker ~= '' then free_key(marker, id) end
keep_cancelled('0 ' .. RESULT, before_it_came({ counts = KEYS[5] }, stored))
return 'removed'
