-- Put back what expired, then claim one message with a lease.
-- KEYS  1 pending, 2 processing, 3 deadlines, 4 tokens, 5 counter, 6 counts, 7 dead letters or a placeholder,
--       8 claim record, 9 refs, 10 ids, 11 backrefs, 12 delayed (optional)
-- ARGV  1 lease ms, 2 delivery limit or 0, 3 record TTL ms, 4 claim id
-- reply {stored, token} the same claim again; else {stored, token, reclaimed, dead-lettered, problem, delivery count}
--       and for each reclaimed, then each dead-lettered message its id and deliveries so far. Empty strings stand for
--       what there is not; `problem` says why a claim could not be stored (the message is back in pending)
-- cost  O(1), and O(length of processing) for each of a bounded number of expired leases
local L = { pending = KEYS[1], processing = KEYS[2], deadlines = KEYS[3], tokens = KEYS[4], counter = KEYS[5],
  counts = KEYS[6], refs = KEYS[9], ids = KEYS[10], backrefs = KEYS[11] }
local dead_list, record, claim_id, limit = KEYS[7], KEYS[8], ARGV[4], tonumber(ARGV[2])
local wrong = check_leases(L) or check({ record, 'string' }) or (limit > 0 and check({ dead_list, 'list' }))
  or (KEYS[12] and check({ KEYS[12], 'zset' }))
if wrong then return wrong end
admit(L)
local now = now_ms()

local deadline = text(now + tonumber(ARGV[1]))
local function remember(stored, token, value)
  call('SET', record, value, 'PX', ARGV[3])
  call('HSET', L.refs, token, record)
  call('HSET', L.ids, claim_id, value)
  call('HSET', L.backrefs, token, claim_id)
end

local function replay(value)
  local ok, pair = pcall(cjson.decode, value)
  if not ok or type(pair) ~= 'table' or type(pair[1]) ~= 'string' or type(pair[2]) ~= 'string' then return nil end
  -- Whoever holds a newer token owns the message now: an old record must not give it out a second time.
  if call('HGET', L.tokens, pair[1]) ~= pair[2] then return nil end
  call('ZADD', L.deadlines, deadline, pair[1])
  remember(pair[1], pair[2], value)
  return pair
end

local value = call('GET', record)
local again = value and replay(value)
if again then return again end
if value then call('DEL', record) end
value = call('HGET', L.ids, claim_id)
again = value and replay(value)
if again then return again end
if value then call('HDEL', L.ids, claim_id) end

if KEYS[12] then promote(L, KEYS[12], now, 100) end
local reclaimed, dead, facts = reclaim(L, now), 0, {}

local function tell(stored, deliveries)
  facts[#facts + 1] = id_of(stored)
  facts[#facts + 1] = deliveries
end

local function answer(stored, token, problem, deliveries)
  return { stored, token, text(reclaimed), text(dead), problem, deliveries, unpack(facts) }
end

for i = reclaimed, 1, -1 do
  tell(L.returned[i], call('HGET', L.counts, L.returned[i]) or '')
end
for _ = 1, 100 do
  local stored = call('LMOVE', L.pending, L.processing, 'RIGHT', 'LEFT')
  if not stored then break end
  local count = limit > 0 and pcall_redis('HINCRBY', L.counts, stored, 1) or 0
  if type(count) == 'table' then
    give_back(L, stored, false)
    return answer('', '', 'delivery count: ' .. count.err, '')
  end
  if count > limit then
    local problem = bury(L, dead_list, stored)
    if problem then
      give_back(L, stored, true)
      return answer('', '', 'dead letter: ' .. problem, '')
    end
    dead = dead + 1
    tell(stored, text(count - 1))
  else
    local token, problem = grant(L, stored, deadline)
    if not token then
      give_back(L, stored, limit > 0)
      return answer('', '', 'lease token: ' .. problem, '')
    end
    remember(stored, token, cjson.encode({ stored, token }))
    return answer(stored, token, '', limit > 0 and text(count) or '')
  end
end
return answer('', '', '', '')
