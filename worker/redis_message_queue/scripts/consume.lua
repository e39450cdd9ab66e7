-- Settle what a worker finished, then claim its next messages: one round trip, atomic.
-- KEYS  1 pending, 2 processing, 3 deadlines, 4 tokens, 5 counter, 6 counts, 7 refs, 8 ids, 9 backrefs, 10 delayed,
--       11 completed, 12 failed, 13 dead letters, 14 dead-letter info, 15 workers, 16 versions, 17 notes,
--       18 settle record, 19 claim record, then records of earlier calls that nobody needs any more
-- ARGV  1 numbers: messages to claim; 1 = new ones too, 0 = only what the claim record remembers; what comes back by an
--       expired lease: 0 = as it comes, 1 = apart from others, 2 = the same, and the caller has others in hand; what is
--       due: 2 = first, 1 = if nothing else waits, 0 = not now; lease ms; delivery limit or 0; record TTL ms; lengths
--       kept of completed, failed, dead-letter info
--       2 worker id or '', 3 the worker's state to start from (JSON),
--       then for each settlement: stored, `token outcome delay-ms failed` (1 if the handler did), of what is given up its
--       deduplication marker or '', and of a dead letter reason, detail
-- reply one string, which clients read faster than a list: words, a line feed, the claimed messages end to end.
--       Words: one digit for each settlement (1 applied, 0 the lease was lost) or -; 1 when the worker is retired;
--       reclaimed; dead-lettered; ms to the next due message or -; ms to the next lease expiry or -; version of the
--       worker's state; then token, delivery count and length of each claim, and `- 0 length` of each dead-lettered one;
--       the count of a claim that had trouble is followed by :failures:lost leases:kept, see notes. One that is kept is not
--       to be handled, but released once nothing else is in hand
-- cost  O(log N) for each message, O(distance from the nearer end of processing) to take it out
--#include base
--#include admit
--#include take_out
--#include lease
--#include worker
local L = { pending = KEYS[1], processing = KEYS[2], deadlines = KEYS[3], tokens = KEYS[4], counter = KEYS[5],
  counts = KEYS[6], refs = KEYS[7], ids = KEYS[8], backrefs = KEYS[9] }
local DELAYED, COMPLETED, FAILED, DEAD, INFO, WORKERS = KEYS[10], KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15]
local VERSIONS, SETTLED, CLAIMED = KEYS[16], KEYS[18], KEYS[19]
L.notes = KEYS[17]
local AT_ONCE = 1000 -- Lua can only pass so many values to one command
local count, fresh, apart, due, lease_ms, limit, record_ttl, keep_completed, keep_failed, keep_info =
  string.match(ARGV[1], '^(%d+) (%d) (%d) (%d) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$')
count, limit = tonumber(count), tonumber(limit)
local worker, now = ARGV[2], now_ms()
local deadline = now + lease_ms
local taken, tokens, counted, buried = {}, {}, {}, {} -- what was claimed, and given up on the way

-- Of the lists that messages end in, those matter that this call needs: a message must not suffer for another's list.
local ends = {}
local function wrong(burying)
  --#include types
  local lists = {}
  if ends.done and keep_completed ~= '0' then lists[1], lists[2] = COMPLETED, 'list' end
  if ends.failed and keep_failed ~= '0' then lists[#lists + 1], lists[#lists + 2] = FAILED, 'list' end
  if ends.dead or burying then
    lists[#lists + 1], lists[#lists + 2], lists[#lists + 3], lists[#lists + 4] = DEAD, 'list', INFO, 'list'
  end
  return check_leases(L) or check({ DELAYED, 'zset', WORKERS, 'hash', L.notes, 'hash', SETTLED, 'string',
    CLAIMED, 'string' }) or check(lists)
end
L.wrong = wrong

-- What few calls need: a function costs time in each call that creates it. Behind this, it is reached as rare().name.
local rarely
local function rare()
  if rarely then return rarely end
  --#include ensure
  --#include envelope
  --#include undo
  --#include records
  --#include promote
  --#include reclaim
  --#include unleased
  --#include distinct
  --#include notes
  rarely = { ensure = ensure, promote = promote, reclaim = reclaim, unleased = unleased,
    distinct = distinct }
  local pushed = {}

  -- Write a message that is settled to its next place; the reply undoes that, unless it was there before.
  function rarely.place(stored, outcome, delay)
    if outcome == 'retry' and delay == '0' then
      call('LPUSH', L.pending, stored) -- behind those that wait
      return 'LPOP', L.pending
    elseif outcome == 'retry' then
      if call('ZADD', DELAYED, now + delay, stored) == 1 then return 'ZREM', DELAYED, stored end
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

  -- Its lease ended. What was only kept has not been delivered.
  function L.lost(stored)
    local failures, lost, kept = note_of(L, stored)
    if kept then uncount(stored) end
    note(L, stored, failures, kept and lost or lost + 1)
  end

  -- How to grant what is at the head of processing: false as any other; 'like' with none but its like, after one lost lease;
  -- or 'alone', when it is likely that the message itself ends its workers, or certain that it is its last delivery.
  function rarely.care(stored)
    local _, lost = note_of(L, stored)
    if lost == 0 then return false end
    local delivery = tonumber(call('HGET', L.counts, stored)) or 0
    return (lost > 1 or limit > 0 and delivery + 1 >= limit) and 'alone' or 'like'
  end

  -- The delivery count as it is told, and noted whether the message is only kept.
  function rarely.counted(stored, delivery, keep)
    local failures, lost, kept = note_of(L, stored)
    if failures + lost == 0 then return delivery end
    if keep == nil then keep = kept end
    if keep ~= kept then note(L, stored, failures, lost, keep) end
    return table.concat({ delivery, failures, lost, keep and 1 or 0 }, ':')
  end

  function rarely.tell_why(stored, reason, detail, deliveries)
    if keep_info == '0' then return end
    local id, payload = unwrap(stored)
    call('LPUSH', INFO, cjson.encode({ id = id, reason = reason, detail = detail, deliveries = deliveries, at = now,
      digest = redis.sha1hex(payload), worker = worker }))
    call('LTRIM', INFO, 0, keep_info - 1)
  end

  -- What else there is to do for messages that were settled, before their delivery counts go.
  function rarely.settled(all, answers)
    for i = 1, #all do
      local stored, token, outcome, _, _, reason, detail, marker = unpack(all[i], 1, 8)
      if answers[i] == 1 then
        forget_records(L, token)
        if outcome == 'dead' then rarely.tell_why(stored, reason, detail, tonumber(call('HGET', L.counts, stored)) or 0) end
        if outcome == 'release' then uncount(stored) end
        if marker and marker ~= '' then pcall_redis('DEL', marker) end -- it may be published again
        if outcome == 'retry' and all[i][5] == '1' then
          local failures, lost = note_of(L, stored)
          note(L, stored, failures + 1, lost)
        end
      end
    end
    if pushed[COMPLETED] then call('LTRIM', COMPLETED, 0, keep_completed - 1) end
    if pushed[FAILED] then call('LTRIM', FAILED, 0, keep_failed - 1) end
  end

  -- Count what became of messages under this version of the worker. No settlement fails because of that.
  function rarely.count_outcomes(config, all, applied)
    if type(config) ~= 'string' or config == '' then return end
    local tally = {}
    for i = 1, #all do
      local outcome, failed = all[i][3], all[i][5] == '1'
      if string.sub(applied, i, i) == '1' then
        if outcome == 'done' or outcome == 'dead' then tally[outcome] = (tally[outcome] or 0) + 1 end
        if failed then tally.failed = (tally.failed or 0) + 1 end
      end
    end
    for what, number in pairs(tally) do
      local total = pcall_redis('HINCRBY', VERSIONS, config .. ':' .. what, number)
      if total == number then call('PEXPIRE', VERSIONS, 86400000) end
    end
  end

  -- Take what the claim record still holds: those of its tokens that are current, found from the head of processing,
  -- where the newest claims are. Their leases start anew; what is more than was asked for is returned, to be released.
  function rarely.replay(record)
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
          table.insert(found, 1, { chunk[i], token, 'release', '0', '0' })
        end
      end
      from = from + 100
    end
    for i = 1, math.min(count, #found) do
      local stored = found[i][1]
      call('ZADD', L.deadlines, deadline, stored)
      local delivery = tonumber(call('HGET', L.counts, stored)) or 0
      taken[i], tokens[i], counted[i] = stored, found[i][2], rarely.counted(stored, delivery)
    end
    return { unpack(found, count + 1) }
  end

  -- How long until the first is due, or '-'.
  local function until_first(zset)
    local first = #taken < count and call('ZRANGE', zset, 0, 0, 'WITHSCORES') or {}
    return first[2] and text(math.max(0, tonumber(first[2]) - now)) or '-'
  end

  function rarely.told(applied, retired, reclaimed, dead, state)
    return table.concat({ applied, retired, reclaimed, dead, until_first(DELAYED), until_first(L.deadlines),
      text(state and tonumber(state.n) or 0) }, ' ')
  end
  return rarely
end

-- Settle what is told as { stored, token, outcome, delay, failed, reason, detail } each: the answers as digits. The next
-- place is written first and the lease dropped last, so no failure in between can lose a message.
local function settle(all, plain)
  local answers, gone, ended, releases = {}, {}, {}, 0
  local function one(i)
    local stored, token, outcome = all[i][1], all[i][2], all[i][3]
    answers[i] = 0
    if call('HGET', L.tokens, stored) ~= token then return end
    if plain then
      answers[i] = take_out(L, stored, token)
    else
      answers[i] = take_out(L, stored, token, rare().place(stored, outcome, all[i][4]))
    end
    if answers[i] == 0 then return end
    gone[#gone + 1] = stored
    if outcome ~= 'release' and outcome ~= 'retry' then ended[#ended + 1] = stored end
  end
  for i = 1, #all do
    if all[i][3] == 'release' then releases = i else one(i) end
  end
  -- Released ones go in reverse, so that the one claimed first is the next to be claimed again.
  for i = releases, 1, -1 do
    if all[i][3] == 'release' then one(i) end
  end
  for from = 1, #gone, AT_ONCE do
    call('HDEL', L.tokens, unpack(gone, from, math.min(#gone, from + AT_ONCE - 1)))
    call('ZREM', L.deadlines, unpack(gone, from, math.min(#gone, from + AT_ONCE - 1)))
  end
  if not plain or L.records ~= false then rare().settled(all, answers) end
  for from = 1, #ended, AT_ONCE do
    call('HDEL', L.counts, unpack(ended, from, math.min(#ended, from + AT_ONCE - 1)))
    if L.noted then call('HDEL', L.notes, unpack(ended, from, math.min(#ended, from + AT_ONCE - 1))) end
  end
  return table.concat(answers)
end

-- From here on it is straight code: that, too, takes less time than functions do.
local all, at, plain = {}, 4, true
while ARGV[at] do
  local token, outcome, delay, failed = string.match(ARGV[at + 1], '^(%S+) (%S+) (%d+) (%d)$')
  local one = { ARGV[at], token, outcome, delay, failed }
  all[#all + 1], at = one, at + 2
  ends[outcome] = true
  if outcome ~= 'done' or keep_completed ~= '0' then plain = false end
  if outcome == 'dead' or outcome == 'failed' then one[8], at = ARGV[at], at + 1 end
  if outcome == 'dead' then
    one[6], one[7], at = ARGV[at], ARGV[at + 1], at + 2
  end
end

-- Each of these fails for a key of another type, before anything is written; the full check would take longer.
-- Most calls find nothing delayed, due or remembered, and then there is nothing to check or to read there.
local remembered = call('EXISTS', L.refs, L.ids, L.backrefs, SETTLED, CLAIMED, DELAYED, L.notes) > 0
local looks = { pcall_redis('LLEN', L.processing), pcall_redis('LLEN', L.pending), pcall_redis('HGET', L.counts, ''),
  pcall_redis('ZRANGEBYSCORE', L.deadlines, '-inf', now, 'LIMIT', 0, 1),
  remembered and pcall_redis('ZRANGEBYSCORE', DELAYED, '-inf', now, 'LIMIT', 0, 1),
  remembered and pcall_redis('EXISTS', L.notes), remembered and pcall_redis('HGET', L.notes, '') }
for i = 1, #looks do
  if type(looks[i]) == 'table' and looks[i].err then return wrong() or looks[i] end
end
local late = looks[4][1]
L.length, L.due, L.noted = looks[1], remembered and looks[5][1], remembered and looks[6] == 1
remembered = remembered and call('EXISTS', L.refs, L.ids, L.backrefs, SETTLED, CLAIMED) > 0
if remembered or not plain then
  local alien = wrong()
  if alien then return alien end
end
local applied, record = false, false
if remembered then
  applied, record = all[1] and call('GET', SETTLED), call('GET', CLAIMED)
else
  L.records = false
end
local state = worker ~= '' and worker_state(WORKERS, worker) or nil
admit(L.refs, 20)

local change, known_state = 0, state ~= nil
if worker ~= '' then state = state or cjson.decode(ARGV[3]) end
if all[1] and not applied then
  applied = settle(all, plain)
  change = -#applied
  call('SET', SETTLED, applied, 'PX', record_ttl)
  if state then rare().count_outcomes(state.config, all, applied) end
end

local retired = is_retired(state, now)
local reclaimed, dead, problem = 0, 0, nil
if count > 0 and record then
  local others = rare().replay(record)
  settle(others, false)
  change = change - #others
elseif count > 0 and fresh == '1' and not retired then
  if L.due and due ~= '0' then rare().promote(L, DELAYED, now, count, due == '2' and count or 0) end
  if late then reclaimed = rare().reclaim(L, now) end
  local before
  -- What was claimed before a write is refused stays claimed.
  for _ = 1, count + 100 do
    at = #taken + 1
    local stored = at <= count and call('LMOVE', L.pending, L.processing, 'RIGHT', 'LEFT')
    if not stored then break end
    -- What was lost with a worker comes apart from the others, so that the one whose fault it is shows itself.
    local care = L.noted and apart ~= '0' and rare().care(stored)
    if at > 1 and care ~= before then
      call('LMOVE', L.processing, L.pending, 'LEFT', 'RIGHT')
      break
    end
    before = care
    local token, delivery, refused
    if string.sub(stored, 1, #PREFIX) ~= PREFIX then
      local twin = call('HEXISTS', L.tokens, stored) == 1 or call('ZSCORE', DELAYED, stored)
      if twin then stored, refused = rare().distinct(L.processing, stored, CLAIMED .. #taken) end
    end
    if not refused then token, delivery, refused = lease(L, stored, deadline, true, limit) end
    if token then
      taken[at], tokens[at], counted[at] = stored, token, delivery
      if L.noted then
        local keep = care and apart == '2'
        counted[at] = rare().counted(stored, delivery, keep)
        if care == 'alone' or keep then break end
      end
    else
      local others
      refused, others = rare().unleased(L, stored, delivery, refused, DEAD)
      problem = refused or problem
      if refused and not others then break end
      if not refused then
        dead = dead + 1
        buried[dead] = stored
        if L.noted then call('HDEL', L.notes, stored) end
        rare().tell_why(stored, 'MaxDeliveries', '', delivery - 1)
      end
    end
  end
  change = change + #taken
  if taken[1] then call('SET', CLAIMED, table.concat(tokens, ' '), 'PX', record_ttl) end
end

if state and (change ~= 0 or not known_state) then
  state.busy = math.max(0, (tonumber(state.busy) or 0) + change)
  state.n = (tonumber(state.n) or 0) + 1
  state.at = now
  call('HSET', WORKERS, worker, cjson.encode(state))
  if not known_state then call('PEXPIRE', WORKERS, 60000) end
end
if problem and not taken[1] then return wrong(true) or redis.error_reply('ERR a claim could not be stored: ' .. problem) end

local words = { (applied or '-') .. ' 0 0 0 - - 0' }
if state or retired or reclaimed + dead > 0 or #taken < count then
  words[1] = rare().told(applied or '-', retired and 1 or 0, reclaimed, dead, state)
end
for i = 1, #taken do
  words[3 * i - 1], words[3 * i], words[3 * i + 1] = tokens[i], counted[i], #taken[i]
end
for i = 1, dead do
  words[#words + 1] = '- 0 ' .. #buried[i]
  taken[#taken + 1] = buried[i]
end
return table.concat(words, ' ') .. '\n' .. table.concat(taken)
