-- Put back what expired, then claim one message with a lease.
-- KEYS  1 pending, 2 processing, 3 deadlines, 4 tokens, 5 counter, 6 counts, 7 dead letters or a placeholder, 8 refs,
--       9 ids, 10 backrefs, 11 waiting, 12 turns (see lanes), 13 claim record, then the delayed set when there is one, then records of earlier calls that
--       nobody needs any more
-- ARGV  1 lease ms, 2 delivery limit or 0, 3 '1' with a delayed set
-- reply nil when there was nothing; 'token deliveries', a line feed and the stored message in one string, which clients
--       read faster than a list; {stored, token} the same claim again; and when there is more to tell
--       {stored, token, reclaimed, dead-lettered, problem, delivery count} and for each reclaimed, then each
--       dead-lettered message its id and deliveries so far. Empty strings stand for what there is not;
--       `problem` says why a claim could not be stored (the message is back in pending)
-- cost  O(1), and O(length of processing) for each of a bounded number of expired leases
--#include base
--#include lane
local pending, processing, deadlines, tokens, counter, counts = unpack(KEYS, 1, 6)
local dead_list, record, delayed = KEYS[7], KEYS[13], ARGV[3] == '1' and KEYS[14] or nil
local cancelled, answered = pending .. ':cancelled', delayed and 15 or 14
local limit, now = tonumber(ARGV[2]), now_ms()
local deadline = now + ARGV[1]

-- A repeat of this claim is answered from the record. The caller's next call removes it, or else the lease's end does.
local function remember(stored, token)
  call('SET', record, cjson.encode({ stored, token }), 'PX', ARGV[1])
end

-- The usual claim, by few commands: nothing is remembered, due, expired, cancelled or in lanes, and what waits has no trouble
-- behind it. No answer for any other: the general way goes on with what is at the head of processing then. What a refused write
-- has left behind is undone by `unlease`, so that it is refused there too.
local claims, moved, stage = {}, nil, 0 -- stage: 1 counted, 2 with a deadline, 3 with a token

local function usual()
  if limit == 0 then return end -- what is not counted, `unlease` would count down
  local waiting = false
  if call('EXISTS', record, KEYS[12], delayed or record, cancelled) > 0 then
    if not delayed or call('EXISTS', record, KEYS[12], cancelled) > 0 then return end
    if call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, 1)[1] then return end
    waiting = true
  end
  if call('ZRANGEBYSCORE', deadlines, '-inf', now, 'LIMIT', 0, 1)[1] then return end

  -- From here on it writes, and first what frees memory: see admit.
  if KEYS[answered] then call('DEL', unpack(KEYS, answered)) else call('HDEL', KEYS[8], '') end
  local stored = call('LMOVE', pending, processing, 'RIGHT', 'LEFT')
  if not stored then return false end
  claims[1], moved = stored, 'LMOVE'
  if string.sub(stored, 1, #PREFIX) ~= PREFIX
      and (call('HEXISTS', tokens, stored) == 1 or waiting and call('ZSCORE', delayed, stored)) then return end
  if lane_of(stored) then return end
  local deliveries = call('HINCRBY', counts, stored, 1)
  stage = 1
  if deliveries > limit then return end
  local number = call('INCR', counter)
  if number >= 9007199254740992 then return end
  local token = text(number)
  call('ZADD', deadlines, deadline, stored)
  stage = 2
  call('HSET', tokens, stored, token)
  stage = 3
  remember(stored, token)
  return token .. ' ' .. text(deliveries) .. '\n' .. stored
end
local done, answer = pcall(usual)
if done and answer ~= nil then return answer end
local first = done and claims[1]
if first then moved = nil end
--#include unlease

--#include admit
--#include claim
local keys = { pending = pending, processing = processing, deadlines = deadlines, tokens = tokens, counter = counter, counts = counts,
  refs = KEYS[8], ids = KEYS[9], backrefs = KEYS[10], cancelled = cancelled, turns = KEYS[12] }
local lanes = { pending = pending, waiting = KEYS[11], turns = KEYS[12] }

local function wrong(burying)
  --#include types
  return check_leases(keys) or check({ record, 'string' }) or (burying and limit > 0 and check({ dead_list, 'list' }))
    or check({ lanes.waiting, 'zset', lanes.turns, 'zset' }) or (delayed and check({ delayed, 'zset' }))
end
keys.wrong = wrong

local function body()
  -- Each read fails for a key of another type, before anything is written.
  local value, due, drop, laned
  if call('EXISTS', record, lanes.turns, delayed or record, keys.cancelled) > 0 then
    value = call('GET', record)
    keys.cancels, laned = call('EXISTS', keys.cancelled) == 1, call('EXISTS', lanes.turns) == 1
    due = delayed and call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, 1)[1]
  end
  if value then
    local function replay()
      local ok, pair = pcall(cjson.decode, value)
      if not ok or type(pair) ~= 'table' or type(pair[1]) ~= 'string' or type(pair[2]) ~= 'string' then return nil end
      -- Whoever holds a newer token owns the message now: an old record must not give it out a second time.
      if call('HGET', keys.tokens, pair[1]) ~= pair[2] then return nil end
      call('ZADD', keys.deadlines, deadline, pair[1])
      remember(pair[1], pair[2])
      return pair
    end
    local again = replay()
    if again then return again end
  end
  local late = call('ZRANGEBYSCORE', keys.deadlines, '-inf', now, 'LIMIT', 0, 1)[1]
  if not first then admit(keys.refs, answered) end

  local reclaimed, dead, facts = 0, 0, {}
  if due or late then
    --#include ensure
    --#include envelope
    --#include undo
    --#include take_out
    --#include records
    --#include promote
    --#include reclaim
    if due then promote(keys, delayed, now, 100, 1) end
    if late then reclaimed = reclaim(keys, now) end
    for i = reclaimed, 1, -1 do
      local stored = keys.returned[i]
      facts[#facts + 1], facts[#facts + 2] = id_of(stored), call('HGET', keys.counts, stored) or ''
    end
    if due or reclaimed > 0 then laned = laned or lane_of(call('LRANGE', keys.pending, -1, -1)[1] or '') end
  end
  if laned then
    --#include undo
    --#include lanes
    --#include stage
    -- Read before the lanes are written to, too.
    call('LLEN', keys.processing)
    call('HGET', keys.tokens, '')
    call('HGET', keys.counts, '')
    local time = call('TIME')
    stage(lanes, 1, nil, time[1] * 1000000 + time[2], now, tonumber(call('GET', keys.counter)) or 0)
  end
  if keys.cancels then
    --#include envelope
    --#include result
    --#include cancelled
    function drop(one) return drop_cancelled(keys, one) end
  end
  local function buried(stored, deliveries)
    --#include envelope
    dead = dead + 1
    facts[#facts + 1], facts[#facts + 2] = id_of(stored), text(deliveries)
  end
  local claims, refused = claim(keys, { first = first, count = 1, deadline = deadline, counted = limit > 0, limit = limit,
    dead = dead_list, delayed = delayed, unique = record, buried = buried, cancelled = drop })
  local stored, token, deliveries = unpack(claims[1] or { '', '', '' })
  if lane_of(stored) then -- taken over, it may still be counted for its limit key
    --#include lanes
    --#include give_back
    pcall(give_back, { turns = lanes.turns, in_flight = KEYS[1] .. ':held' }, { stored }) -- no claim fails because of that
  end
  if claims[1] then
    remember(stored, token)
    refused, deliveries = '', limit > 0 and text(deliveries) or ''
  elseif refused then
    local alien = wrong(true)
    if alien then return alien end
  end
  if reclaimed + dead == 0 and (refused or '') == '' then
    return token ~= '' and token .. ' ' .. deliveries .. '\n' .. stored
  end
  return { stored, token, text(reclaimed), text(dead), refused or '', deliveries, unpack(facts) }
end

--#include guard
