-- Claim one message without a lease.
-- KEYS  1 pending, 2 processing, 3 claim record, 4 ids, 5 backrefs, 6 waiting, 7 turns (see lanes),
--       8 delayed (optional)
-- ARGV  1 record TTL ms, 2 claim id
-- reply the stored message or nil; the same message again for the same claim id
-- cost  O(1)
--#include base
local pending, processing, record, ids, backrefs, turns, delayed = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[7], KEYS[8]
local claim = ARGV[2]

local function wrong()
  --#include types
  return check({ pending, 'list', processing, 'list', record, 'string', ids, 'hash', backrefs, 'hash', KEYS[6], 'zset', turns, 'zset' })
    or (delayed and check({ delayed, 'zset' }))
end

-- What is due or waits in lanes comes to the tail of pending: so much is written then that all is checked before.
local function bring(due, laned)
  local alien = wrong()
  if alien then error(alien.err, 0) end
  --#include ensure
  --#include undo
  --#include promote
  if due then promote({ pending = pending }, delayed, now_ms(), 100) end
  if laned then
    --#include lane
    --#include lanes
    --#include stage
    local time = call('TIME')
    stage({ pending = pending, waiting = KEYS[6], turns = turns }, 1, nil, time[1] * 1000000 + time[2], 0, tonumber(time[2]))
  end
end

local function body()
  -- Each read fails for a key of another type, before anything is written.
  local known, due, laned = false, false, false
  if call('EXISTS', record, turns, delayed or record) > 0 then
    known, laned = call('GET', record), call('EXISTS', turns) == 1
    due = delayed and call('ZRANGEBYSCORE', delayed, '-inf', now_ms(), 'LIMIT', 0, 1)[1]
  end
  local stored, moved = known or call('HGET', ids, claim), false
  call('HEXISTS', backrefs, '')
  call('HDEL', ids, '') -- see admit
  if not stored then
    if due or laned then bring(due, laned) end
    stored = call('LMOVE', pending, processing, 'RIGHT', 'LEFT')
    if not stored then return false end
    moved = true
  end
  if moved and string.sub(stored, 1, #PREFIX) ~= PREFIX and call('HEXISTS', backrefs, stored) == 1 then
    --#include own_envelope
    local own, refused = own_envelope(processing, stored, record)
    if refused then
      call('LMOVE', processing, pending, 'LEFT', 'RIGHT')
      error(refused, 0)
    end
    stored = own
  end
  if not known then
    local set = pcall_redis('SET', record, stored, 'PX', ARGV[1])
    if set.err and moved then call('LMOVE', processing, pending, 'LEFT', 'RIGHT') end
    if set.err then error(set.err, 0) end
  end
  call('HSET', ids, claim, stored)
  call('HSET', backrefs, stored, claim)
  return stored
end
--#include guard
