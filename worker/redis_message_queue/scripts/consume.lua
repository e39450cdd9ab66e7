-- Settle what a worker finished, then claim its next messages: one round trip, atomic.
-- KEYS  1 pending, 2 processing, 3 deadlines, 4 tokens, 5 counter, 6 counts, 7 refs, 8 ids, 9 backrefs, 10 delayed,
--       11 completed, 12 failed, 13 dead letters, 14 dead-letter info, 15 workers, 16 versions, 17 settle record,
--       18 claim record, then records of earlier calls that nobody needs any more
-- ARGV  1 messages to claim, 2 '1' = new ones too, '0' = only what the claim record remembers, 3 lease ms,
--       4 delivery limit or 0, 5 record TTL ms, 6-8 lengths kept of completed, failed, dead-letter info,
--       9 worker id or '', 10 the worker's state to start from (JSON),
--       then for each settlement: stored, token, outcome, delay ms, reason, detail, '1' if it failed
-- reply { one digit for each settlement: 1 applied, 0 the lease was lost; 1 when the worker is retired; reclaimed;
--       dead-lettered; ms to the next due message or ''; ms to the next lease expiry or ''; version of the worker's
--       state; then stored, token, delivery count of each claim }
-- cost  O(log N) for each message, O(distance from the nearer end of processing) to take it out
local L = { pending = KEYS[1], processing = KEYS[2], deadlines = KEYS[3], tokens = KEYS[4], counter = KEYS[5],
  counts = KEYS[6], refs = KEYS[7], ids = KEYS[8], backrefs = KEYS[9] }
local DELAYED, COMPLETED, FAILED, DEAD, INFO, WORKERS = KEYS[10], KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15]
local VERSIONS, SETTLED, CLAIMED = KEYS[16], KEYS[17], KEYS[18]
local count, lease, limit, record_ttl = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local worker = ARGV[9]

local settles = #ARGV > 10
-- Most calls find none of these, and then there is nothing to check or to read in them.
local rare = call('EXISTS', L.refs, L.ids, L.backrefs, COMPLETED, FAILED, DEAD, INFO, SETTLED, CLAIMED) > 0
local wrong = check({ L.pending, 'list', L.processing, 'list', L.deadlines, 'zset', L.tokens, 'hash', L.counter, 'string',
  L.counts, 'hash', DELAYED, 'zset' }) or rare and (check_leases(L) or check({ COMPLETED, 'list', FAILED, 'list',
  DEAD, 'list', INFO, 'list', SETTLED, 'string', CLAIMED, 'string' })) or nil
if wrong then return wrong end
if not rare then L.records = false end
admit(L, 19)
local applied, record = rare and settles and call('GET', SETTLED), rare and call('GET', CLAIMED)
local state = worker ~= '' and worker_state(WORKERS, worker) or nil
local now = now_ms()

local function push_capped(list, value, cap)
  call('LPUSH', list, value)
  call('LTRIM', list, 0, cap - 1)
end

local function tell_why(stored, reason, detail, deliveries)
  local keep = tonumber(ARGV[8])
  if keep == 0 then return end
  local id, payload = unwrap(stored)
  push_capped(INFO, cjson.encode({ id = id, reason = reason, detail = detail, deliveries = deliveries, at = now,
    digest = redis.sha1hex(payload), worker = worker }), keep)
end

local function deliveries(stored)
  return tonumber(call('HGET', L.counts, stored)) or 0
end

-- Write the message to its next place; the reply undoes that, unless it was there before.
local pushed = {}
local function place(stored, outcome, delay)
  if outcome == 'retry' then
    local added = call('ZADD', DELAYED, text(now + delay), stored)
    if added == 1 then return 'ZREM', DELAYED, stored end
    return
  elseif outcome == 'release' then
    call('RPUSH', L.pending, stored)
    return 'RPOP', L.pending
  end
  local list = outcome == 'dead' and DEAD or outcome == 'done' and COMPLETED or FAILED
  if list == COMPLETED and ARGV[6] == '0' or list == FAILED and ARGV[7] == '0' then return end
  local _, payload = unwrap(stored)
  call('LPUSH', list, payload)
  pushed[list] = true
  return 'LPOP', list
end

local function uncount(stored)
  local left = pcall_redis('HINCRBY', L.counts, stored, -1)
  if type(left) == 'table' or left <= 0 then call('HDEL', L.counts, stored) end
end

-- The next place is written first and the lease dropped last, so no failure in between can lose the message.
local function settle(stored, token, outcome, delay, reason, detail)
  if call('HGET', L.tokens, stored) ~= token then return 0 end
  if take_out(L, stored, token, place(stored, outcome, delay)) == 0 then return 0 end
  forget(L, stored, token)
  if outcome == 'dead' then tell_why(stored, reason, detail, deliveries(stored)) end
  if outcome == 'release' then
    uncount(stored)
  elseif outcome ~= 'retry' then
    call('HDEL', L.counts, stored)
  end
  return 1
end

local function settle_all(first)
  local applied, tally = {}, {}
  local function one(i)
    local at = first + (i - 1) * 7
    local outcome = ARGV[at + 2]
    applied[i] = settle(ARGV[at], ARGV[at + 1], outcome, tonumber(ARGV[at + 3]), ARGV[at + 4], ARGV[at + 5])
    if applied[i] == 0 then return end
    if outcome == 'done' or outcome == 'dead' then tally[outcome] = (tally[outcome] or 0) + 1 end
    if ARGV[at + 6] == '1' then tally.failed = (tally.failed or 0) + 1 end
  end
  local total = (#ARGV - first + 1) / 7
  for i = 1, total do
    if ARGV[first + (i - 1) * 7 + 2] ~= 'release' then one(i) end
  end
  -- Released in reverse, so that the one claimed first is the next to be claimed again.
  for i = total, 1, -1 do
    if applied[i] == nil then one(i) end
  end
  if pushed[COMPLETED] then call('LTRIM', COMPLETED, 0, ARGV[6] - 1) end
  if pushed[FAILED] then call('LTRIM', FAILED, 0, ARGV[7] - 1) end
  return table.concat(applied), tally
end

-- Count what became of messages under this version of the worker. No settlement fails because of that.
local function count_outcomes(config, tally)
  if type(config) ~= 'string' or config == '' then return end
  for what, number in pairs(tally) do
    local total = pcall_redis('HINCRBY', VERSIONS, config .. ':' .. what, number)
    if total == number then call('PEXPIRE', VERSIONS, 86400000) end
  end
end

-- What the claim record still holds: those of its tokens that are current, found from the head of processing, where
-- the newest claims are. Their leases start anew; what is more than was asked for goes back to pending.
local function replay(record)
  local wanted, oldest, missing = {}, math.huge, 0
  for token in string.gmatch(record, '%d+') do
    wanted[token], oldest, missing = true, math.min(oldest, tonumber(token)), missing + 1
  end
  local found, from, length = {}, 0, call('LLEN', L.processing)
  while missing > 0 and from < length do
    local chunk = call('LRANGE', L.processing, from, from + 99)
    local tokens = call('HMGET', L.tokens, unpack(chunk))
    for i = 1, #chunk do
      local token = tokens[i]
      if token and tonumber(token) < oldest then missing = 0 end
      if token and wanted[token] then
        wanted[token], missing = nil, missing - 1
        table.insert(found, 1, { chunk[i], token })
      end
    end
    from = from + 100
  end
  local again = {}
  for i = #found, 1, -1 do
    local stored, token = found[i][1], found[i][2]
    if i > count then settle(stored, token, 'release') end
  end
  for i = 1, math.min(count, #found) do
    local stored, token = found[i][1], found[i][2]
    call('ZADD', L.deadlines, text(now + lease), stored)
    again[#again + 1], again[#again + 2], again[#again + 3] = stored, token, text(deliveries(stored))
  end
  return again, #found - #again / 3
end

-- Leases go by value. A second copy of a value in flight (a producer that writes no envelopes) gets its own envelope.
local function distinct(stored, number)
  if string.sub(stored, 1, #PREFIX) == PREFIX then return stored end
  if call('HEXISTS', L.tokens, stored) == 0 and not call('ZSCORE', DELAYED, stored) then return stored end
  local content = { id = string.sub(redis.sha1hex(CLAIMED .. number), 1, 32) }
  if string.find(stored, '[\128-\255]') then
    content.payload_hex = string.gsub(stored, '.', function(char) return string.format('%02x', string.byte(char)) end)
  else
    content.payload = stored
  end
  local copy = PREFIX .. cjson.encode(content)
  call('LSET', L.processing, 0, copy)
  return copy
end

local function take()
  local taken, tokens, dead = {}, {}, 0
  for round = 1, count + 100 do
    if #tokens == count then break end
    local moved = call('LMOVE', L.pending, L.processing, 'RIGHT', 'LEFT')
    if not moved then break end
    local stored = distinct(moved, round)
    local delivery = pcall_redis('HINCRBY', L.counts, stored, 1)
    local counted, worn, token, problem = type(delivery) == 'number', false, nil, nil
    if not counted then
      problem = delivery.err
    elseif limit > 0 and delivery > limit then
      worn, problem = true, bury(L, DEAD, stored)
    else
      token, problem = grant(L, stored, text(now + lease))
    end
    if problem then
      give_back(L, stored, counted)
      return taken, tokens, dead, problem
    elseif worn then
      tell_why(stored, 'MaxDeliveries', '', delivery - 1)
      dead = dead + 1
    else
      tokens[#tokens + 1] = token
      taken[#taken + 1], taken[#taken + 2], taken[#taken + 3] = stored, token, text(delivery)
    end
  end
  return taken, tokens, dead
end

local change, known = 0, state ~= nil
if worker ~= '' then state = state or cjson.decode(ARGV[10]) end
if settles and not applied then
  local tally
  applied, tally = settle_all(11)
  change = -#applied
  call('SET', SETTLED, applied, 'PX', record_ttl)
  if state then count_outcomes(state.config, tally) end
end

local retired = is_retired(state, now)
local taken, reclaimed, dead, problem = {}, 0, 0, nil
if count > 0 then
  local tokens = {}
  if record then
    local released
    taken, released = replay(record)
    change = change - released
  elseif ARGV[2] == '1' and not retired then
    promote(L, DELAYED, now, count)
    reclaimed = reclaim(L, now)
    taken, tokens, dead, problem = take()
    change = change + #tokens
    if #tokens > 0 then call('SET', CLAIMED, table.concat(tokens, ' '), 'PX', record_ttl) end
  end
end

if state and (change ~= 0 or not known) then
  state.busy = math.max(0, (tonumber(state.busy) or 0) + change)
  state.n = (tonumber(state.n) or 0) + 1
  state.at = now
  call('HSET', WORKERS, worker, cjson.encode(state))
  if not known then call('PEXPIRE', WORKERS, 60000) end
end
if problem and #taken == 0 then return redis.error_reply('ERR a claim could not be stored: ' .. problem) end

local function until_first(zset)
  if #taken / 3 >= count then return '' end
  local first = call('ZRANGE', zset, 0, 0, 'WITHSCORES')
  return first[2] and text(math.max(0, tonumber(first[2]) - now)) or ''
end

local reply = { applied or '', retired and '1' or '0', text(reclaimed), text(dead), until_first(DELAYED),
  until_first(L.deadlines), text(state and tonumber(state.n) or 0) }
for i = 1, #taken do
  reply[#reply + 1] = taken[i]
end
return reply
