-- Settle what a worker finished, then claim its next messages: one round trip, atomic.
-- KEYS  1 pending, 2 processing, 3 deadlines, 4 tokens, 5 counter, 6 counts, 7 refs, 8 ids, 9 backrefs, 10 delayed,
--       11 completed, 12 failed, 13 dead letters, 14 dead-letter info, 15 workers, 16 versions, 17 settle record,
--       18 claim record, then records of earlier calls that nobody needs any more
-- ARGV  1 numbers: messages to claim; 1 = new ones too, 0 = only what the claim record remembers; lease ms; delivery
--       limit or 0; record TTL ms; lengths kept of completed, failed, dead-letter info
--       2 worker id or '', 3 the worker's state to start from (JSON),
--       then for each settlement: stored, `token outcome delay-ms failed` (1 if the handler did), and of a dead letter
--       reason, detail
-- reply { words: one digit for each settlement (1 applied, 0 the lease was lost) or -; 1 when the worker is retired;
--       reclaimed; dead-lettered; ms to the next due message or -; ms to the next lease expiry or -; version of the
--       worker's state; then token and delivery count of each claim.
--       Behind them the stored messages of these claims }
-- cost  O(log N) for each message, O(distance from the nearer end of processing) to take it out
local L = { pending = KEYS[1], processing = KEYS[2], deadlines = KEYS[3], tokens = KEYS[4], counter = KEYS[5],
  counts = KEYS[6], refs = KEYS[7], ids = KEYS[8], backrefs = KEYS[9] }
local DELAYED, COMPLETED, FAILED, DEAD, INFO, WORKERS = KEYS[10], KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15]
local VERSIONS, SETTLED, CLAIMED = KEYS[16], KEYS[17], KEYS[18]
local AT_ONCE = 1000 -- Lua can only pass so many values to one command
local count, fresh, lease, limit, record_ttl, keep_completed, keep_failed, keep_info =
  string.match(ARGV[1], '^(%d+) (%d) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$')
count, limit = tonumber(count), tonumber(limit)
local worker = ARGV[2]

local settles = #ARGV > 3
-- Most calls find none of these, and then there is nothing to check or to read in them.
local rare = call('EXISTS', L.refs, L.ids, L.backrefs, COMPLETED, FAILED, DEAD, INFO, SETTLED, CLAIMED) > 0
local wrong = check({ L.pending, 'list', L.processing, 'list', L.deadlines, 'zset', L.tokens, 'hash', L.counter, 'string',
  L.counts, 'hash', DELAYED, 'zset' }) or rare and check({ L.refs, 'hash', L.ids, 'hash', L.backrefs, 'hash',
  COMPLETED, 'list', FAILED, 'list', DEAD, 'list', INFO, 'list', SETTLED, 'string', CLAIMED, 'string' }) or nil
if wrong then return wrong end
if not rare then L.records = false end
admit(L, 19)
local applied, record = rare and settles and call('GET', SETTLED), rare and call('GET', CLAIMED)
local state = worker ~= '' and worker_state(WORKERS, worker) or nil
local now = now_ms()
local deadline = text(now + lease)

-- Call a command for all values at once, or rather for as many as it takes.
local function for_all(command, key, values)
  for from = 1, #values, AT_ONCE do
    call(command, key, unpack(values, from, math.min(#values, from + AT_ONCE - 1)))
  end
end

local function push_capped(list, value, cap)
  call('LPUSH', list, value)
  call('LTRIM', list, 0, cap - 1)
end

local function tell_why(stored, reason, detail, deliveries)
  if keep_info == '0' then return end
  local id, payload = unwrap(stored)
  push_capped(INFO, cjson.encode({ id = id, reason = reason, detail = detail, deliveries = deliveries, at = now,
    digest = redis.sha1hex(payload), worker = worker }), keep_info)
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
  if list == COMPLETED and keep_completed == '0' or list == FAILED and keep_failed == '0' then return end
  local _, payload = unwrap(stored)
  call('LPUSH', list, payload)
  pushed[list] = true
  return 'LPOP', list
end

local function uncount(stored)
  local left = pcall_redis('HINCRBY', L.counts, stored, -1)
  if type(left) == 'table' or left <= 0 then call('HDEL', L.counts, stored) end
end

-- The current token of each settlement's message.
local function tokens_of(all)
  local held = {}
  for from = 1, #all, AT_ONCE do
    local part = {}
    for i = from, math.min(#all, from + AT_ONCE - 1) do
      part[#part + 1] = all[i][1]
    end
    for i, token in ipairs(call('HMGET', L.tokens, unpack(part))) do
      held[from + i - 1] = token
    end
  end
  return held
end

-- Settle each { stored, token, outcome, delay, failed, reason, detail }; the answers as digits, and how many had which
-- end. The next place is written first and the lease dropped last, so no failure in between can lose a message.
local function settle(all)
  local answers, gone, ended, more, tally, held = {}, {}, {}, {}, {}, tokens_of(all)
  local function one(i)
    local end_of = all[i]
    local stored, outcome = end_of[1], end_of[3]
    answers[i] = 0
    if held[i] ~= end_of[2] then return end
    if take_out(L, stored, end_of[2], place(stored, outcome, end_of[4])) == 0 then return end
    answers[i], gone[#gone + 1] = 1, stored
    if outcome ~= 'release' and outcome ~= 'retry' then ended[#ended + 1] = stored end
    if outcome == 'done' or outcome == 'dead' then tally[outcome] = (tally[outcome] or 0) + 1 end
    if end_of[5] == '1' then tally.failed = (tally.failed or 0) + 1 end
    if outcome == 'release' or outcome == 'dead' or L.records ~= false then more[#more + 1] = end_of end
  end
  local releases = false
  for i = 1, #all do
    if all[i][3] == 'release' then releases = true else one(i) end
  end
  -- Released in reverse, so that the one claimed first is the next to be claimed again.
  for i = releases and #all or 0, 1, -1 do
    if all[i][3] == 'release' then one(i) end
  end
  for_all('HDEL', L.tokens, gone)
  for_all('ZREM', L.deadlines, gone)
  for i = 1, #more do
    local stored, token, outcome, _, _, reason, detail = unpack(more[i], 1, 7)
    forget_records(L, token)
    if outcome == 'dead' then tell_why(stored, reason, detail, deliveries(stored)) end
    if outcome == 'release' then uncount(stored) end
  end
  for_all('HDEL', L.counts, ended)
  if pushed[COMPLETED] then call('LTRIM', COMPLETED, 0, keep_completed - 1) end
  if pushed[FAILED] then call('LTRIM', FAILED, 0, keep_failed - 1) end
  return table.concat(answers), tally
end

-- Count what became of messages under this version of the worker. No settlement fails because of that.
local function count_outcomes(config, tally)
  if type(config) ~= 'string' or config == '' then return end
  for what, number in pairs(tally) do
    local total = pcall_redis('HINCRBY', VERSIONS, config .. ':' .. what, number)
    if total == number then call('PEXPIRE', VERSIONS, 86400000) end
  end
end

local function settlements()
  local all, at = {}, 4
  while ARGV[at] do
    local token, outcome, delay, failed = string.match(ARGV[at + 1], '^(%S+) (%S+) (%d+) (%d)$')
    local one = { ARGV[at], token, outcome, delay, failed }
    at = at + 2
    if outcome == 'dead' then
      one[6], one[7], at = ARGV[at], ARGV[at + 1], at + 2
    end
    all[#all + 1] = one
  end
  return all
end

-- What was claimed.
local taken, tokens, counted = {}, {}, {}
local function claimed(stored, token, delivery)
  local at = #taken + 1
  taken[at], tokens[at], counted[at] = stored, token, delivery
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
    local current = call('HMGET', L.tokens, unpack(chunk))
    for i = 1, #chunk do
      local token = current[i]
      if token and tonumber(token) < oldest then missing = 0 end
      if token and wanted[token] then
        wanted[token], missing = nil, missing - 1
        table.insert(found, 1, { chunk[i], token, 'release' })
      end
    end
    from = from + 100
  end
  local released = {}
  for i = count + 1, #found do
    released[i - count] = found[i]
  end
  settle(released)
  for i = 1, math.min(count, #found) do
    local stored, token = found[i][1], found[i][2]
    call('ZADD', L.deadlines, deadline, stored)
    claimed(stored, token, deliveries(stored))
  end
  return #released
end

-- Leases go by value. A second copy of a value in flight (a producer that writes no envelopes) gets its own envelope.
local function distinct(stored, number, seen)
  if string.sub(stored, 1, #PREFIX) == PREFIX then return stored end
  if not seen[stored] and call('HEXISTS', L.tokens, stored) == 0 and not call('ZSCORE', DELAYED, stored) then
    seen[stored] = true
    return stored
  end
  local content = { id = string.sub(redis.sha1hex(CLAIMED .. number), 1, 32) }
  if string.find(stored, '[\128-\255]') then
    content.payload_hex = string.gsub(stored, '.', function(char) return string.format('%02x', string.byte(char)) end)
  else
    content.payload = stored
  end
  return PREFIX .. cjson.encode(content)
end

-- Move messages from the tail of pending to the head of processing: the first by LMOVE, which is all that a claim of one
-- takes, the others together. Why, if a write was refused and there are not as many as there could be.
local function move(most)
  local moved, seen = {}, {}
  local first = call('LMOVE', L.pending, L.processing, 'RIGHT', 'LEFT')
  if not first then return moved end
  moved[1] = distinct(first, #taken + 1, seen)
  if moved[1] ~= first then
    local written = pcall_redis('LSET', L.processing, 0, moved[1])
    if written.err then return moved, written.err end
  end
  local found = most > 1 and call('LRANGE', L.pending, 1 - most, -1) or {}
  local length, others = #found, {}
  if length == 0 then return moved end
  for i = 1, length do
    others[i] = distinct(found[length + 1 - i], #taken + 1 + i, seen)
  end
  local written = pcall_redis('LPUSH', L.processing, unpack(others))
  if type(written) == 'table' then return moved, written.err end
  written = pcall_redis('LTRIM', L.pending, 0, -length - 1)
  if written.err then
    call('LPOP', L.processing, length)
    return moved, written.err
  end
  for i = 1, length do
    moved[1 + i] = others[i]
  end
  return moved
end

-- Lease the messages that were just moved to processing; why, if a write was refused, and then none is leased.
local function grant_all(moved, delivery)
  local granted, problem = next_tokens(L, #moved)
  if problem then return problem end
  local ends, leases, counts = {}, {}, {}
  for i = 1, #moved do
    local stored, key, value = moved[i], 2 * i - 1, 2 * i
    ends[key], ends[value] = deadline, stored
    leases[key], leases[value] = stored, granted[i]
    counts[key], counts[value] = stored, delivery[i]
  end
  local written = pcall_redis('ZADD', L.deadlines, unpack(ends))
  if type(written) ~= 'table' then
    written = pcall_redis('HSET', L.tokens, unpack(leases))
    if type(written) ~= 'table' then
      written = pcall_redis('HSET', L.counts, unpack(counts))
      if type(written) ~= 'table' then
        for i = 1, #moved do
          claimed(moved[i], granted[i], delivery[i])
        end
        return
      end
      call('HDEL', L.tokens, unpack(moved))
    end
    call('ZREM', L.deadlines, unpack(moved))
  end
  return written.err
end

-- Move messages to processing and lease them, but bury those that were delivered too often: how many were moved, how
-- many buried, and why nothing more is claimed if a write was refused. What is not leased is in pending again.
local function take(most)
  local moved, problem = move(most)
  local leasable, delivery, buried = {}, {}, {}
  local known = moved[1] and call('HMGET', L.counts, unpack(moved))
  for i = 1, #moved do
    local before = tonumber(known[i] or 0)
    if not before then
      problem = problem or 'the delivery count ' .. known[i] .. ' is no number'
    elseif limit > 0 and before >= limit and not problem then
      problem = bury(L, DEAD, moved[i])
      if not problem then buried[#buried + 1] = { moved[i], before } end
    else
      leasable[#leasable + 1], delivery[#delivery + 1] = moved[i], before + 1
    end
  end
  if leasable[1] and not problem then problem = grant_all(leasable, delivery) end
  for _ = 1, problem and #moved - #buried or 0 do
    call('LMOVE', L.processing, L.pending, 'LEFT', 'RIGHT')
  end
  for i = 1, #buried do
    tell_why(buried[i][1], 'MaxDeliveries', '', buried[i][2])
  end
  return #moved, #buried, problem
end

local change, known = 0, state ~= nil
if worker ~= '' then state = state or cjson.decode(ARGV[3]) end
if settles and not applied then
  local tally
  applied, tally = settle(settlements())
  change = -#applied
  call('SET', SETTLED, applied, 'PX', record_ttl)
  if state then count_outcomes(state.config, tally) end
end

local retired = is_retired(state, now)
local reclaimed, dead, problem = 0, 0, nil
if count > 0 then
  if record then
    change = change - replay(record)
  elseif fresh == '1' and not retired then
    promote(L, DELAYED, now, count)
    reclaimed = reclaim(L, now)
    local tries = count + 100
    while #taken < count and tries > 0 and not problem do
      local moved, buried
      moved, buried, problem = take(math.min(count - #taken, tries, AT_ONCE))
      dead, tries = dead + buried, tries - moved
      if moved == 0 then break end
    end
    change = change + #taken
    if #taken > 0 then call('SET', CLAIMED, table.concat(tokens, ' '), 'PX', record_ttl) end
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
  if #taken >= count then return '-' end
  local first = call('ZRANGE', zset, 0, 0, 'WITHSCORES')
  return first[2] and text(math.max(0, tonumber(first[2]) - now)) or '-'
end

local words = { applied or '-', retired and 1 or 0, reclaimed, dead, until_first(DELAYED), until_first(L.deadlines),
  text(state and tonumber(state.n) or 0) }
local reply = { '' }
for i = 1, #taken do
  words[6 + 2 * i], words[7 + 2 * i], reply[1 + i] = tokens[i], counted[i], taken[i]
end
reply[1] = table.concat(words, ' ')
return reply
