-- Publish many messages at once, now or for later, all or none; duplicates are left out.
-- KEYS  1 pending, or the delayed set when a delay is given, 2 replay record of this call, then one deduplication
--       marker for each message, or none at all
-- ARGV  1 marker TTL s, 2 replay TTL ms, 3 cap of pending or '', 4 overload policy, 5 delay ms or '', then the stored
--       messages, oldest first
-- reply one digit for each message: 1 published, 0 duplicate; '-1' pending has no room for all of them
-- cost  O(1) for each message, O(log N) with a delay
--#include base
--#include types
local target, record, delay = KEYS[1], KEYS[2], tonumber(ARGV[5])
local types = { target, delay and 'zset' or 'list', record, 'string' }
for i = 3, #KEYS do
  types[#types + 1], types[#types + 2] = KEYS[i], 'string'
end
local wrong = check(types)
if wrong then return wrong end

local before = call('GET', record)
if before then return before end

local due = delay and now_ms() + delay
local digits, values, markers, seen = {}, {}, {}, {}
for i = 6, #ARGV do
  local marker = KEYS[i - 3]
  local new = not marker or not (seen[marker] or call('EXISTS', marker) == 1)
  digits[#digits + 1] = new and '1' or '0'
  if new then
    if marker then seen[marker], markers[#markers + 1] = true, marker end
    -- Microseconds keep the order of messages that are due together.
    if due then values[#values + 1] = string.format('%.3f', due + (i - 6) / 1000) end
    values[#values + 1] = ARGV[i]
  end
end

local cap = not delay and tonumber(ARGV[3])
if #values > 0 and cap and ARGV[4] ~= 'drop_oldest' and call('LLEN', target) + #values > cap then
  return '-1'
end

-- Memory may refuse the first write, an ACL any: then nothing of this call stays.
local refused
local function write(...)
  local reply = not refused and pcall_redis(...)
  if type(reply) == 'table' and reply.err then
    refused = reply.err
    call('DEL', record, unpack(markers))
  end
end

local answer = table.concat(digits)
write('SET', record, answer, 'PX', ARGV[2])
for _, marker in ipairs(markers) do
  write('SET', marker, '', 'EX', ARGV[1])
end
if #values > 0 then write(delay and 'ZADD' or 'LPUSH', target, unpack(values)) end
if refused then
  local err, left = refused, 'nothing was written'
  --#include refused
end
if cap and ARGV[4] == 'drop_oldest' then call('LTRIM', target, 0, cap - 1) end
return answer
