-- Put back what expired, then claim one message with a lease.
-- KEYS  1 pending, 2 processing, 3 deadlines, 4 tokens, 5 counter, 6 counts, 7 dead letters or a placeholder, 8 refs,
--       9 ids, 10 backrefs, 11 claim record, then the delayed set when there is one, then records of earlier calls that
--       nobody needs any more
-- ARGV  1 lease ms, 2 delivery limit or 0, 3 '1' with a delayed set
-- reply nil when there was nothing; {stored, token} the same claim again; {stored, token, delivery count}; and when
--       there is more to tell {stored, token, reclaimed, dead-lettered, problem, delivery count} and for each reclaimed,
--       then each dead-lettered message its id and deliveries so far. Empty strings stand for what there is not;
--       `problem` says why a claim could not be stored (the message is back in pending)
-- cost  O(1), and O(length of processing) for each of a bounded number of expired leases
local L = { pending = KEYS[1], processing = KEYS[2], deadlines = KEYS[3], tokens = KEYS[4], counter = KEYS[5],
  counts = KEYS[6], refs = KEYS[8], ids = KEYS[9], backrefs = KEYS[10] }
local dead_list, record, delayed = KEYS[7], KEYS[11], ARGV[3] == '1' and KEYS[12] or nil
local limit, spent = tonumber(ARGV[2]), delayed and 13 or 12
local now = now_ms()
local deadline = text(now + tonumber(ARGV[1]))
local reclaimed, dead, facts = 0, 0, {}

local function wrong()
  return check_leases(L) or check({ record, 'string' }) or (limit > 0 and check({ dead_list, 'list' }))
    or (delayed and check({ delayed, 'zset' }))
end
L.wrong = wrong

-- A repeat of this claim is answered from the record. The caller's next call removes it, or else the lease's end does.
local function remember(stored, token)
  call('SET', record, cjson.encode({ stored, token }), 'PX', ARGV[1])
end

local function replay(value)
  local ok, pair = pcall(cjson.decode, value)
  if not ok or type(pair) ~= 'table' or type(pair[1]) ~= 'string' or type(pair[2]) ~= 'string' then return nil end
  -- Whoever holds a newer token owns the message now: an old record must not give it out a second time.
  if call('HGET', L.tokens, pair[1]) ~= pair[2] then return nil end
  call('ZADD', L.deadlines, deadline, pair[1])
  remember(pair[1], pair[2])
  return pair
end

local function tell(stored, deliveries)
  facts[#facts + 1] = id_of(stored)
  facts[#facts + 1] = deliveries
end

local function answer(stored, token, problem, deliveries)
  if reclaimed + dead == 0 and problem == '' then return stored ~= '' and { stored, token, deliveries } end
  return { stored, token, text(reclaimed), text(dead), problem, deliveries, unpack(facts) }
end

local function refuse(stored, counted, problem)
  give_back(L, stored, counted)
  return wrong() or answer('', '', problem, '')
end

-- The answer to a claim of the message that was just moved to processing; nil when it became a dead letter.
local function take(stored)
  local count = limit > 0 and pcall_redis('HINCRBY', L.counts, stored, 1) or 0
  if type(count) == 'table' then return refuse(stored, false, 'delivery count: ' .. count.err) end
  if count > limit then
    -- Rare enough for all the checks: a dead letter stays one, also when the claim that follows it is refused.
    if wrong() then return refuse(stored, true, '') end
    local problem = bury(L, dead_list, stored)
    if problem then return refuse(stored, true, 'dead letter: ' .. problem) end
    dead = dead + 1
    tell(stored, text(count - 1))
    return nil
  end
  local token, problem = grant(L, stored, deadline)
  if not token then return refuse(stored, limit > 0, 'lease token: ' .. problem) end
  remember(stored, token)
  return answer(stored, token, '', limit > 0 and text(count) or '')
end

return guarded(wrong, function()
  local value = call('GET', record)
  local again = value and replay(value)
  if again then return again end
  admit(L, spent)
  if delayed then promote(L, delayed, now, 100) end
  reclaimed = reclaim(L, now)
  for i = reclaimed, 1, -1 do
    tell(L.returned[i], call('HGET', L.counts, L.returned[i]) or '')
  end
  for _ = 1, 100 do
    local stored = call('LMOVE', L.pending, L.processing, 'RIGHT', 'LEFT')
    if not stored then break end
    local reply = take(stored)
    if reply then return reply end
  end
  return answer('', '', '', '')
end)
