-- Settle what a worker finished, then claim its next messages: one round trip, atomic.
-- KEYS  1 pending, 2 processing, 3 deadlines, 4 tokens, 5 counter, 6 counts, 7 refs, 8 ids, 9 backrefs, 10 delayed,
--       11 completed, 12 failed, 13 dead letters, 14 dead-letter info, 15 workers, 16 versions, 17 notes,
--       18 waiting, 19 turns, 20 rates, 21 in flight for limit keys (see lanes), 22 settle record, 23 claim record, then records of earlier
--       calls that nobody needs any more
-- ARGV  1 numbers: messages to claim; 1 = new ones too, 0 = only what the claim record remembers; what comes back by an
--       expired lease: 0 = as it comes, 1 = apart from others, 2 = the same, and the caller has others in hand; what is
--       due: 2 = first, 1 = if nothing else waits, 0 = not now; lease ms; delivery limit or 0; record TTL ms; lengths
--       kept of completed, failed, dead-letter info; limits for the queue and for each key: ms between two or 0, burst, most in
--       flight or 0, and 1 at the first claim, with commas, or - for none; where results are kept, for how many ms, and the prefix of their keys
--       2 worker id or '', 3 the worker's state to start from (JSON), 4 field for the leases of its process or '',
--       then for each settlement: stored, `token outcome delay-ms failed` (1 if the handler did), and of what is given up its
--       deduplication marker or '', reason, detail (also of what was cancelled); where results are kept, `length key text` (see result) or ''. Instead of a large message
--       its first bytes, and behind `failed` the end of its lease as granted and its length
-- reply nil if a message that was not sent is not found: then nothing was done, and all of them are to be sent. Else one
--       string, which clients read faster than a list: words, a line feed, the claimed messages end to end; or if they
--       are large a list of the words and the messages, which the server puts together faster.
--       Words: one digit for each settlement (1 applied, 0 the lease was lost) or -; 1 when the worker is retired;
--       reclaimed; dead-lettered; ms to the next due message or -; ms to the next lease expiry or -; version of the
--       worker's state; end of the leases granted, ms; ms until the limits of the queue let the next go or -; then token,
--       delivery count and length of each claim, and `- 0 length` of each dead-lettered one, then of each cancelled one that
--       was not settled so; the count of a claim that had trouble is followed by :failures:lost
--       leases:kept, see notes. One that is kept is not to be handled, but released once nothing else is in hand; with lanes
--       the call that releases it then claims it, and it alone, where it wants any
-- cost  O(log N) for each message, O(distance from the nearer end of processing) to take it out
--#include base
--#include usual
local ok, answer = pcall(usual)
if ok and answer then return answer end
--#include unlease
if settling then return redis.error_reply(type(answer) == 'table' and answer.err or tostring(answer)) end

--#include types
--#include admit
--#include ensure
--#include envelope
--#include free_key
--#include undo
--#include take_out
--#include records
--#include promote
--#include reclaim
--#include claim
--#include settle
--#include notes
--#include worker
--#include find
--#include result
--#include cancelled
--#include lane
local keys = { pending = KEYS[1], processing = KEYS[2], deadlines = KEYS[3], tokens = KEYS[4], counter = KEYS[5],
  counts = KEYS[6], refs = KEYS[7], ids = KEYS[8], backrefs = KEYS[9], notes = KEYS[17], turns = KEYS[19],
  cancelled = KEYS[1] .. ':cancelled' }
local DELAYED, COMPLETED, FAILED, DEAD, INFO, WORKERS = KEYS[10], KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15]
local VERSIONS, SETTLED, CLAIMED = KEYS[16], KEYS[22], KEYS[23]
local lanes = { pending = KEYS[1], waiting = KEYS[18], turns = KEYS[19], rates = KEYS[20], in_flight = KEYS[21], deadlines = KEYS[3] }
local count, fresh, apart, due, lease_ms, limit, record_ttl, keep_completed, keep_failed, keep_info, limits, results_ttl, results =
  string.match(ARGV[1], '^(%d+) (%d) (%d) (%d) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%S+) ?(%d*) ?(.*)$')
count, limit = tonumber(count), tonumber(limit)
local worker, leases_field, now = ARGV[2], ARGV[4], now_ms()
local deadline = now + lease_ms

-- Beside each list that messages end in there is one of records, which tell of the newest of them.
local infos = { done = COMPLETED .. '_info', failed = FAILED .. '_info', dead = INFO }
local most_told = { done = tonumber(keep_completed), failed = tonumber(keep_failed), dead = math.huge }

-- Of the lists that messages end in, those matter that this call needs: a message must not suffer for another's list.
local ends = {}
function keys.wrong(burying)
  local lists = {}
  local function add(list, info)
    lists[#lists + 1], lists[#lists + 2], lists[#lists + 3], lists[#lists + 4] = list, 'list', info, 'list'
  end
  if ends.done and keep_completed ~= '0' then add(COMPLETED, infos.done) end
  if ends.failed and keep_failed ~= '0' then add(FAILED, infos.failed) end
  if ends.dead or burying then add(DEAD, INFO) end
  return check_leases(keys) or check({ DELAYED, 'zset', WORKERS, 'hash', keys.notes, 'hash', SETTLED, 'string',
    CLAIMED, 'string', lanes.waiting, 'zset', lanes.turns, 'zset', lanes.rates, 'zset', lanes.in_flight, 'zset' }) or check(lists)
end

-- Write a message that is settled to its next place; the reply undoes that, unless it was there before.
local pushed, dropped = {}, {} -- dropped: cancelled ones, whose deduplication keys the caller frees
local function place(one)
  local stored, outcome, delay = one[1], one[3], one[4]
  if outcome == 'retry' and delay == '0' then -- behind those that wait
    local others, entries, numbers = { stored }, {}, {}
    if lane_of(stored) then
      --#include lanes
      --#include enter
      others, entries, numbers = enter(keys.pending, lanes.waiting, lanes.turns, others)
      if numbers[1] then call('ZADD', lanes.turns, 'NX', unpack(numbers)) end
    end
    if others[1] then
      call('LPUSH', keys.pending, stored)
      return 'LPOP', keys.pending
    end
    call('ZADD', lanes.waiting, unpack(entries))
    return 'ZREM', lanes.waiting, entries[2]
  elseif outcome == 'retry' then
    if call('ZADD', DELAYED, now + delay, stored) == 1 then return 'ZREM', DELAYED, stored end
    return
  elseif outcome == 'release' then
    call('RPUSH', keys.pending, stored)
    return 'RPOP', keys.pending
  elseif outcome == 'cancelled' then
    return
  end
  local list = outcome == 'dead' and DEAD or outcome == 'done' and COMPLETED or FAILED
  if list == COMPLETED and keep_completed == '0' or list == FAILED and keep_failed == '0' then return end
  local _, payload = unwrap(stored)
  call('LPUSH', list, payload)
  pushed[list] = true
  return 'LPOP', list
end

-- How to grant what is at the head of processing: false as any other; 'like' with none but its like, after one lost lease;
-- or 'alone', when it is likely that the message itself ends its workers, or certain that it is its last delivery.
local function care(stored)
  local _, lost = note_of(keys, stored)
  if lost == 0 then return false end
  local delivery = tonumber(call('HGET', keys.counts, stored)) or 0
  return (lost > 1 or limit > 0 and delivery + 1 >= limit) and 'alone' or 'like'
end

-- The delivery count as it is told, and noted whether the message is only kept.
local function counted(stored, delivery, keep)
  local failures, lost, kept = note_of(keys, stored)
  if failures + lost == 0 then return delivery end
  if keep == nil then keep = kept end
  if keep ~= kept then note(keys, stored, failures, lost, keep) end
  return table.concat({ delivery, failures, lost, keep and 1 or 0 }, ':')
end

-- Whether a claimed message of this care is to be the last one.
local function granted(one, careful)
  local keep = careful and apart == '2'
  one[3] = counted(one[1], one[3], keep)
  return careful == 'alone' or keep
end

local recorded = {} -- how many records to keep, by their list
local function tell(outcome, stored, reason, detail, deliveries)
  local keep = math.min(keep_info, most_told[outcome])
  if keep == 0 then return end
  local id, payload = unwrap(stored)
  deliveries = deliveries or tonumber(call('HGET', keys.counts, stored)) or 0
  call('LPUSH', infos[outcome], cjson.encode({ id = id, reason = reason, detail = detail, deliveries = deliveries, at = now,
    digest = redis.sha1hex(payload), worker = worker, lane = lane_of(stored) }))
  recorded[infos[outcome]] = keep
end

local function trim_records()
  for info, keep in pairs(recorded) do call('LTRIM', info, 0, keep - 1) end
end

-- Settle { stored, token, outcome, delay, failed, reason, detail, marker, result } each. Released ones go last and in reverse, so that
-- the one claimed first is the next to be claimed again. `fast`: each is done and kept nowhere.
local function settle_all(all, fast)
  local ordered, ended = {}, {}
  for i = 1, keys.cancels and #all or 0 do
    local one = all[i]
    one.mark = mark_of(keys, one[1])
    if one.mark and (one[3] == 'retry' or one[3] == 'release') then one[3], one.late = 'cancelled', true end
  end
  for i = 1, #all do
    if all[i][3] ~= 'release' then ordered[#ordered + 1] = all[i] end
  end
  for i = #all, 1, -1 do
    if all[i][3] == 'release' then ordered[#ordered + 1] = all[i] end
  end
  settle(keys, ordered, not fast and place)
  for _, one in ipairs(all) do
    local stored, outcome, failed, marker = one[1], one[3], one[5] == '1', one[8]
    if one.applied == 1 then
      if outcome ~= 'release' and outcome ~= 'retry' then ended[#ended + 1] = stored end
      if infos[outcome] and not fast then tell(outcome, stored, one[6], one[7]) end
      if outcome == 'release' then uncount(keys, stored) end
      if (marker or '') ~= '' then free_key(marker, id_of(stored)) end
      if (one[9] or '') ~= '' then keep_result(one[9], results_ttl) end
      if one.mark then
        unmark(keys, stored)
        if outcome == 'cancelled' then keep_cancelled(one.mark, 'while it was handled', results_ttl) end
      end
      if one.late then dropped[#dropped + 1] = stored end
      if outcome == 'retry' and failed then
        local failures, lost = note_of(keys, stored)
        note(keys, stored, failures + 1, lost)
      end
    end
  end
  if pushed[COMPLETED] then call('LTRIM', COMPLETED, 0, keep_completed - 1) end
  if pushed[FAILED] then call('LTRIM', FAILED, 0, keep_failed - 1) end
  trim_records()
  drop('HDEL', keys.counts, ended)
  if keys.noted then drop('HDEL', keys.notes, ended) end
end

-- Count what became of messages under this version of the worker. No settlement fails because of that.
local function count_outcomes(config, all)
  if type(config) ~= 'string' or config == '' then return end
  local tally = {}
  for _, one in ipairs(all) do
    local outcome = one[3]
    if one.applied == 1 then
      if outcome == 'done' or outcome == 'dead' then tally[outcome] = (tally[outcome] or 0) + 1 end
      if one[5] == '1' then tally.failed = (tally.failed or 0) + 1 end
    end
  end
  for what, number in pairs(tally) do
    local total = pcall_redis('HINCRBY', VERSIONS, config .. ':' .. what, number)
    if total == number then call('PEXPIRE', VERSIONS, 86400000) end
  end
end

-- Take what the claim record still holds: those of its tokens that are current, found from the head of processing,
-- where the newest claims are. Their leases start anew; what is more than was asked for comes second, to be released.
local function replay(record)
  local wanted, oldest, missing = {}, math.huge, 0
  for token in string.gmatch(record, '%d+') do
    wanted[token], oldest, missing = true, math.min(oldest, tonumber(token)), missing + 1
  end
  local found, from, length = {}, 0, call('LLEN', keys.processing)
  while missing > 0 and from < length do
    local chunk = call('LRANGE', keys.processing, from, from + 99)
    local current = call('HMGET', keys.tokens, unpack(chunk))
    for i = 1, #chunk do
      local token = current[i]
      if token and tonumber(token) < oldest then missing = 0 end
      if token and wanted[token] then
        wanted[token], missing = nil, missing - 1
        table.insert(found, 1, { chunk[i], token, 'release', '0', '0' })
      end
    end
    from = from + 100
  end
  local claims = {}
  for i = 1, math.min(count, #found) do
    local stored, token = found[i][1], found[i][2]
    call('ZADD', keys.deadlines, deadline, stored)
    claims[i] = { stored, token, counted(stored, tonumber(call('HGET', keys.counts, stored)) or 0) }
  end
  return claims, { unpack(found, count + 1) }
end

-- Of what is released, the first that is only kept, as applied; and all else.
local function kept_longest(all)
  local first, left = nil, {}
  for _, one in ipairs(all) do
    local _, _, kept = note_of(keys, one[1])
    if not first and one[3] == 'release' and kept and call('HGET', keys.tokens, one[1]) == one[2]
      and not (keys.cancels and mark_of(keys, one[1])) then
      one.applied, first = 1, one
    else
      left[#left + 1] = one
    end
  end
  return first, left
end

local all, named, at, fast = {}, {}, 5, true
while ARGV[at] do
  local token, outcome, delay, failed, lease_end, length =
    string.match(ARGV[at + 1], '^(%S+) (%S+) (%d+) (%d) ?(%d*) ?(%d*)$')
  local one = { ARGV[at], token, outcome, delay, failed }
  if lease_end ~= '' then named[#named + 1] = { ARGV[at], token, lease_end, length, one = one } end
  all[#all + 1], at = one, at + 2
  ends[outcome] = true
  if outcome ~= 'done' or keep_completed ~= '0' then fast = false end
  if outcome == 'dead' or outcome == 'failed' or outcome == 'cancelled' then
    one[8], one[6], one[7], at = ARGV[at], ARGV[at + 1], ARGV[at + 2], at + 3
  end
  if results ~= '' then one[9], at = ARGV[at], at + 1 end
end

-- Each of these fails for a key of another type, before anything is written; the full check would take longer.
-- Most calls find nothing delayed, due or remembered, and then there is nothing to check or to read there.
local remembered = call('EXISTS', keys.refs, keys.ids, keys.backrefs, SETTLED, CLAIMED, DELAYED, keys.notes,
  keys.cancelled, lanes.turns, lanes.in_flight) > 0
local probes = { pcall_redis('LLEN', keys.processing), pcall_redis('LLEN', keys.pending),
  pcall_redis('HGET', keys.counts, ''), pcall_redis('ZRANGEBYSCORE', keys.deadlines, '-inf', now, 'LIMIT', 0, 1),
  remembered and pcall_redis('ZRANGEBYSCORE', DELAYED, '-inf', now, 'LIMIT', 0, 1),
  remembered and pcall_redis('EXISTS', keys.notes), remembered and pcall_redis('HGET', keys.notes, '') }
for i = 1, #probes do
  if type(probes[i]) == 'table' and probes[i].err then return keys.wrong() or probes[i] end
end
local late, waiting = probes[4][1], remembered and probes[5][1]
keys.length, keys.noted = probes[1], remembered and probes[6] == 1
keys.cancels = remembered and call('EXISTS', keys.cancelled) == 1
local laned = remembered and call('EXISTS', lanes.turns, lanes.in_flight) > 0
remembered = remembered and call('EXISTS', keys.refs, keys.ids, keys.backrefs, SETTLED, CLAIMED) > 0
if remembered or not fast or not ok or laned or limits ~= '-' then
  local alien = keys.wrong()
  if alien then return alien end
end
admit(keys.refs, 24) -- before the records are read: one that nobody needs any more answers no second call
local applied, record = false, false
if remembered then
  applied, record = all[1] and call('GET', SETTLED), call('GET', CLAIMED)
else
  keys.records = false
end
local fields = worker ~= '' and call('HMGET', WORKERS, worker, leases_field) or {}
local state = worker ~= '' and worker_state(fields[1]) or nil
for i, stored in ipairs(not applied and find(keys.deadlines, keys.tokens, named) or {}) do
  if not stored then return false end
  named[i].one[1] = stored
end

local change, known_state = 0, state ~= nil
if worker ~= '' then state = state or cjson.decode(ARGV[3]) end
local retired = is_retired(state, now)
local claims, others, buried, reclaimed, problem = {}, {}, {}, 0, nil
if all[1] and not applied then
  -- What was kept is begun now that nothing else is in hand: in lanes others would come before it, again and again.
  local first, left = nil, all
  if laned and keys.noted and apart == '1' and count > 0 and fresh == '1' and not record and not retired then
    first, left = kept_longest(all)
  end
  settle_all(left, fast)
  if first then
    call('ZADD', keys.deadlines, deadline, first[1])
    claims[1] = { first[1], first[2], counted(first[1], tonumber(call('HGET', keys.counts, first[1])) or 0, false) }
  end
  local answers, gone = {}, {}
  for i = 1, #all do
    answers[i] = all[i].applied
    if laned and all[i].applied == 1 and all[i] ~= first then gone[#gone + 1] = all[i][1] end
  end
  if laned then
    --#include give_back
    give_back(lanes, gone)
  end
  applied, change = table.concat(answers), -#all
  call('SET', SETTLED, applied, 'PX', record_ttl)
  if state then count_outcomes(state.config, all) end
end

local lane_due, limited
if claims[1] then -- it is to be alone
elseif count > 0 and record then
  claims, others = replay(record)
  settle_all(others, false)
  change = change - #others
elseif count > 0 and fresh == '1' and not retired then
  if waiting and due ~= '0' then
    local places, every, burst, most = count, string.match(limits, '^([^,]+),([^,]+),([^,]+),')
    if every then -- as many as may begin: else all that are due would stand before those that wait in the end
      --#include limits
      local _, state = of_queue(lanes, every, burst, most, now, 0)
      places = math.min(count, state.room)
    end
    promote(keys, DELAYED, now, places, due == '2' and places or 0)
  end
  keys.lost = lost_with_lease
  if late then reclaimed = reclaim(keys, now) end
  for _, stored in ipairs((reclaimed > 0 or waiting) and call('LRANGE', keys.pending, -count, -1) or {}) do
    laned = laned or lane_of(stored) ~= nil
  end
  local grant, complete, strange
  if laned or limits ~= '-' then
    --#include lanes
    --#include limits
    --#include give_back
    --#include prepare
    if reclaimed > 0 then give_back(lanes, keys.returned) end
    if prepared then
      grant, lanes = prepared.grant, prepared.lanes
    else
      local time = call('TIME')
      lanes.used = laned
      grant = prepare(lanes, limits, count, time[1] * 1000000 + time[2], deadline, tonumber(call('GET', keys.counter)) or 0, 0)
    end
    complete = conclude
    function strange(stored)
      return grant.key and not grant.owners[stored] and #(lane_of(stored) or '') > 1
    end
  end
  local function bury_told(stored, deliveries)
    buried[#buried + 1] = stored
    if keys.noted then call('HDEL', keys.notes, stored) end
    tell('dead', stored, 'MaxDeliveries', '', deliveries)
    trim_records()
    local id = results ~= '' and id_of(stored) or ''
    if id ~= '' then keep_text(results .. id, '{"state":"failed","reason":"MaxDeliveries"}', results_ttl) end
  end
  local function drop(stored)
    local drops = drop_cancelled(keys, stored, results_ttl)
    if drops then dropped[#dropped + 1] = stored end
    return drops
  end
  -- What was lost with a worker comes apart from the others, so that the one whose fault it is shows itself.
  claims, problem = claim(keys, { count = grant and grant.want or count, strange = strange, deadline = deadline, counted = true, limit = limit, dead = DEAD,
    delayed = DELAYED, unique = CLAIMED, buried = bury_told, care = keys.noted and apart ~= '0' and care,
    granted = keys.noted and granted, cancelled = keys.cancels and drop })
  if grant then
    local begun = {}
    for i = 1, #claims do begun[i] = claims[i][1] end
    lane_due, limited = complete(lanes, grant, count, begun, now)
  end
  change = change + #claims
  if claims[1] then -- what was claimed before a write was refused stays claimed
    local tokens = {}
    for i = 1, #claims do tokens[i] = claims[i][2] end
    call('SET', CLAIMED, table.concat(tokens, ' '), 'PX', record_ttl)
  end
end

-- The leases of this process, as `time token …`, so that what it has in hand can be given back once it is known to have
-- ended. The time is that until which they are worth knowing. What is settled goes, also where the lease was lost.
if state and leases_field ~= '' and (all[1] or claims[1]) then
  --#include without
  local ended, left = {}, string.match(fields[2] or '', ' .*') or ''
  for _, settled in ipairs({ all, others, claims }) do
    for i = 1, #settled do ended[#ended + 1] = settled[i][2] end
  end
  local tokens = { text(now + record_ttl) .. without(left, ended) }
  for i = 1, #claims do tokens[#tokens + 1] = claims[i][2] end
  call('HSET', WORKERS, leases_field, table.concat(tokens, ' '))
end
if state and (change ~= 0 or not known_state) then
  state.busy = math.max(0, (tonumber(state.busy) or 0) + change)
  state.n = (tonumber(state.n) or 0) + 1
  state.at = now
  call('HSET', WORKERS, worker, cjson.encode(state))
  if not known_state then call('PEXPIRE', WORKERS, record_ttl) end
end
if problem and not claims[1] then
  return keys.wrong(true) or redis.error_reply('ERR a claim could not be stored: ' .. problem)
end

-- How long until the first is due, or '-'; `other` is how long until something else is.
local function until_first(zset, other)
  local first = #claims < count and call('ZRANGE', zset, 0, 0, 'WITHSCORES')[2] or nil
  local left = math.min(first and math.max(0, tonumber(first) - now) or math.huge, other or math.huge)
  return left < math.huge and text(left) or '-'
end

local header = { (applied or '-') .. ' 0 0 0 - - 0 ' .. text(deadline) .. ' -' }
if state or retired or reclaimed + #buried > 0 or #claims < count then
  header[1] = table.concat({ applied or '-', retired and 1 or 0, reclaimed, #buried, until_first(DELAYED, lane_due),
    until_first(keys.deadlines), text(state and tonumber(state.n) or 0),
    text(deadline), limited and text(limited) or '-' }, ' ')
end
local messages = {}
for i = 1, #claims do
  local stored, token, delivery = unpack(claims[i])
  header[i + 1], messages[i] = token .. ' ' .. delivery .. ' ' .. #stored, stored
end
for _, given_up in ipairs({ buried, dropped }) do
  for _, stored in ipairs(given_up) do
    header[#header + 1], messages[#messages + 1] = '- 0 ' .. #stored, stored
  end
end
return table.concat(header, ' ') .. '\n' .. table.concat(messages)
