-- Put back what expired, then claim one message with a lease.
-- KEYS  1 pending, 2 processing, 3 deadlines, 4 tokens, 5 counter, 6 counts, 7 dead letters or a placeholder, 8 refs,
--       9 ids, 10 backrefs, 11 claim record, then the delayed set when there is one, then records of earlier calls that
--       nobody needs any more
-- ARGV  1 lease ms, 2 delivery limit or 0, 3 '1' with a delayed set
-- reply nil when there was nothing; 'token deliveries', a line feed and the stored message in one string, which clients
--       read faster than a list; {stored, token} the same claim again; and when there is more to tell
--       {stored, token, reclaimed, dead-lettered, problem, delivery count} and for each reclaimed, then each
--       dead-lettered message its id and deliveries so far. Empty strings stand for what there is not;
--       `problem` says why a claim could not be stored (the message is back in pending)
-- cost  O(1), and O(length of processing) for each of a bounded number of expired leases
--#include base
--#include guard
--#include admit
--#include lease
local L = { pending = KEYS[1], processing = KEYS[2], deadlines = KEYS[3], tokens = KEYS[4], counter = KEYS[5],
  counts = KEYS[6], refs = KEYS[8], ids = KEYS[9], backrefs = KEYS[10] }
local dead_list, record, delayed = KEYS[7], KEYS[11], ARGV[3] == '1' and KEYS[12] or nil
local limit, spent = tonumber(ARGV[2]), delayed and 13 or 12
local now = now_ms()
local deadline = now + ARGV[1]
local reclaimed, dead, facts = 0, 0, {}

local function wrong(burying)
  --#include types
  return check_leases(L) or check({ record, 'string' }) or (burying and limit > 0 and check({ dead_list, 'list' }))
    or (delayed and check({ delayed, 'zset' }))
end
L.wrong = wrong

-- A repeat of this claim is answered from the record. The caller's next call removes it, or else the lease's end does.
local function remember(stored, token)
  call('SET', record, cjson.encode({ stored, token }), 'PX', ARGV[1])
end

-- What few calls need: a function costs time in each call that creates it. Behind this, it is reached as rare().name.
local rarely
local function rare()
  if rarely then return rarely end
  --#include ensure
  --#include envelope
  --#include undo
  --#include take_out
  --#include records
  --#include promote
  --#include reclaim
  --#include unleased
  --#include distinct
  rarely = { promote = promote, reclaim = reclaim, unleased = unleased, distinct = distinct }

  function rarely.replay(value)
    local ok, pair = pcall(cjson.decode, value)
    if not ok or type(pair) ~= 'table' or type(pair[1]) ~= 'string' or type(pair[2]) ~= 'string' then return nil end
    -- Whoever holds a newer token owns the message now: an old record must not give it out a second time.
    if call('HGET', L.tokens, pair[1]) ~= pair[2] then return nil end
    call('ZADD', L.deadlines, deadline, pair[1])
    remember(pair[1], pair[2])
    return pair
  end

  function rarely.tell(stored, deliveries)
    facts[#facts + 1] = id_of(stored)
    facts[#facts + 1] = deliveries
  end
  return rarely
end

local function answer(stored, token, problem, deliveries)
  if reclaimed + dead == 0 and problem == '' then
    return token ~= '' and token .. ' ' .. deliveries .. '\n' .. stored
  end
  return { stored, token, text(reclaimed), text(dead), problem, deliveries, unpack(facts) }
end

return guarded(wrong, function()
  -- Each read fails for a key of another type, before anything is written.
  local value, due
  if call('EXISTS', record, delayed or record) > 0 then
    value = call('GET', record)
    due = delayed and call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, 1)[1]
  end
  local again = value and rare().replay(value)
  if again then return again end
  local late = call('ZRANGEBYSCORE', L.deadlines, '-inf', now, 'LIMIT', 0, 1)[1]
  admit(L.refs, spent)
  if due then rare().promote(L, delayed, now, 100, 1) end
  if late then reclaimed = rare().reclaim(L, now) end
  for i = reclaimed, 1, -1 do
    rare().tell(L.returned[i], call('HGET', L.counts, L.returned[i]) or '')
  end
  local refused
  for _ = 1, 100 do
    local stored = call('LMOVE', L.pending, L.processing, 'RIGHT', 'LEFT')
    if not stored then break end
    local token, deliveries, problem
    if string.sub(stored, 1, #PREFIX) ~= PREFIX and call('HEXISTS', L.tokens, stored) == 1 then
      stored, problem = rare().distinct(L.processing, stored, record)
    end
    if not problem then token, deliveries, problem = lease(L, stored, deadline, limit > 0, limit) end
    if token then
      remember(stored, token)
      return answer(stored, token, '', limit > 0 and text(deliveries) or '')
    end
    local others
    problem, others = rare().unleased(L, stored, deliveries, problem, dead_list)
    refused = problem or refused
    if problem and not others then break end
    if not problem then
      dead = dead + 1
      rare().tell(stored, text(deliveries - 1))
    end
  end
  return refused and wrong(true) or answer('', '', refused or '', '')
end)
