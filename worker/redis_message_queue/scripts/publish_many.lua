-- Publish many messages at once, now or for later, all or none; duplicates are left out.
-- KEYS  1 pending, or the delayed set for later, 2 replay record of this call, then one deduplication marker for each
--       message, or none at all, then waiting and turns (see lanes) if ARGV 8 says so, then records of earlier calls that nobody needs any more
-- ARGV  1 marker TTL s, 2 replay TTL ms, 3 cap of pending or '', 4 overload policy, 5 where: '' behind those that wait,
--       'front' before them, a number of ms: later by so much, '@' and a number: when the server's clock says so (ms since
--       the epoch), 6 whether to tell who holds a key: '1' or '', 7 how many markers there are, 8 '1' with
--       waiting and turns: for messages with a lane, or because the cap counts them; or '',
--       then the stored messages, oldest first
-- reply one digit for each message: 1 published, 0 duplicate; if that is to be told, then for each duplicate a line feed and
--       the id that its marker holds, '' where it holds none; '-1' pending has no room for all of them
-- cost  O(1) for each message, O(log N) for later
--#include base
--#include types
--#include holder
--#include lane
local FIRST = 9 -- of ARGV: the oldest message
local AT_ONCE = 1000 -- so many values Lua gives to a command
local target, record, named, count = KEYS[1], KEYS[2], ARGV[6] == '1', tonumber(ARGV[7])
local front = ARGV[5] == 'front'
local later, moment = not front and tonumber(ARGV[5]), tonumber(string.match(ARGV[5], '^@(%d+)$') or '')
local types = { target, (later or moment) and 'zset' or 'list', record, 'string' }
local waiting, turns, answered = nil, nil, 3 + count
if ARGV[8] == '1' then
  waiting, turns, answered = KEYS[answered], KEYS[answered + 1], answered + 2
  for _, key in ipairs({ waiting, turns }) do types[#types + 1], types[#types + 2] = key, 'zset' end
end
local wrong = check(types)
if wrong then return wrong end

-- Markers are looked at together: MGET finds nothing in a key of another type, EXISTS finds that there is one.
local marked, absent = {}, {}
for from = 1, count, AT_ONCE do
  local last = math.min(count, from + AT_ONCE - 1)
  for i, holder in ipairs(call('MGET', unpack(KEYS, from + 2, last + 2))) do
    marked[from + i - 1] = holder
    if not holder then absent[#absent + 1] = KEYS[from + i + 1] end
  end
end
for from = 1, #absent, AT_ONCE do
  if call('EXISTS', unpack(absent, from, math.min(#absent, from + AT_ONCE - 1))) > 0 then
    for i = from, #absent do
      wrong = wrong or check({ absent[i], 'string' })
    end
    return wrong
  end
end

local before = call('GET', record)
if before then return before end

local due = moment or later and now_ms() + later
local digits, values, markers, seen, holders = {}, {}, {}, {}, {}
for i = FIRST, #ARGV do
  local marker = count > 0 and KEYS[i - FIRST + 3]
  local holder = marker and (seen[marker] or marked[i - FIRST + 1])
  digits[#digits + 1] = holder and '0' or '1'
  if holder then
    holders[#holders + 1] = '\n' .. (string.match(holder, '^[!-~]+$') or '')
  else
    if marker then
      local id = holder_of(ARGV[i])
      seen[marker], markers[#markers + 1], markers[#markers + 2] = id, marker, id
    end
    -- Microseconds keep the order of messages that are due together.
    if due then values[#values + 1] = string.format('%.3f', due + (i - FIRST) / 1000) end
    values[#values + 1] = ARGV[i]
  end
end

local cap = not due and tonumber(ARGV[3])
if #values > 0 and cap and ARGV[4] ~= 'drop_oldest' and call('LLEN', target) + call('ZCARD', waiting) + #values > cap then
  return '-1'
end

-- Memory may refuse the first write, an ACL any: then nothing of this call stays.
local refused, entries, numbers = nil, {}, {}
if waiting and not due and #values > 0 then
  --#include lanes
  --#include enter
  values, entries, numbers = enter(target, waiting, turns, values, front)
end
local function write(...)
  local reply = not refused and pcall_redis(...)
  if type(reply) == 'table' and reply.err then
    refused = reply.err
    call('DEL', record)
    for i = 1, #markers, 2 do call('DEL', markers[i]) end
    for i = 2, #entries, 2 do call('ZREM', waiting, entries[i]) end
  end
end

local answer = table.concat(digits) .. (named and table.concat(holders) or '')
write('SET', record, answer, 'PX', ARGV[2])
for i = 1, #markers, 2 do
  write('SET', markers[i], markers[i + 1], 'EX', ARGV[1])
end
if entries[1] then write('ZADD', waiting, unpack(entries)) end
if numbers[1] then write('ZADD', turns, 'NX', unpack(numbers)) end
if #values > 0 then write(due and 'ZADD' or front and 'RPUSH' or 'LPUSH', target, unpack(values)) end
if refused then
  local err, left = refused, 'nothing was written'
  --#include refused
end
if cap and ARGV[4] == 'drop_oldest' then call('LTRIM', target, 0, cap - 1) end
if KEYS[answered] then call('DEL', unpack(KEYS, answered)) end
return answer
