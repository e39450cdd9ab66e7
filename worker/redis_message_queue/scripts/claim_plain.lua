-- Claim one message without a lease.
-- KEYS  1 pending, 2 processing, 3 claim record, 4 ids, 5 backrefs, 6 waiting, 7 turns (see lanes),
--       8 delayed (optional)
-- ARGV  1 record TTL ms, 2 claim id
-- reply the stored message or nil; the same message again for the same claim id
-- cost  O(1)
--#include base
--#include types
--#include admit
--#include ensure
--#include undo
--#include promote
--#include own_envelope
--#include lane
local wrong = check({ KEYS[1], 'list', KEYS[2], 'list', KEYS[3], 'string', KEYS[4], 'hash', KEYS[5], 'hash',
  KEYS[6], 'zset', KEYS[7], 'zset' }) or (KEYS[8] and check({ KEYS[8], 'zset' }))
if wrong then return wrong end
admit(KEYS[4])

local moved, stored = false, call('GET', KEYS[3]) or call('HGET', KEYS[4], ARGV[2])
if not stored then
  if KEYS[8] then promote({ pending = KEYS[1] }, KEYS[8], now_ms(), 100) end
  if call('EXISTS', KEYS[7]) == 1 then
    --#include lanes
    --#include stage
    local time = call('TIME')
    stage({ pending = KEYS[1], waiting = KEYS[6], turns = KEYS[7] }, 1, nil, time[1] * 1000000 + time[2], 0, tonumber(time[2]))
  end
  stored = call('LMOVE', KEYS[1], KEYS[2], 'RIGHT', 'LEFT')
  moved = true
end
if not stored then return false end
if moved and string.sub(stored, 1, #PREFIX) ~= PREFIX and call('HEXISTS', KEYS[5], stored) == 1 then
  local own, refused = own_envelope(KEYS[2], stored, KEYS[3])
  if refused then
    call('LMOVE', KEYS[2], KEYS[1], 'LEFT', 'RIGHT')
    return redis.error_reply(refused)
  end
  stored = own
end
if call('EXISTS', KEYS[3]) == 0 then
  local set = pcall_redis('SET', KEYS[3], stored, 'PX', ARGV[1])
  if set.err and moved then call('LMOVE', KEYS[2], KEYS[1], 'LEFT', 'RIGHT') end
  if set.err then error(set.err, 0) end
end
call('HSET', KEYS[4], ARGV[2], stored)
call('HSET', KEYS[5], stored, ARGV[2])
return stored
