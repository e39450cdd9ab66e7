-- All numbers of one queue at one moment. Writes nothing.
-- KEYS  1 pending, 2 processing, 3 completed, 4 failed, 5 dead letters, 6 deadlines, 7 counter, 8 delayed, 9 workers,
--       10 versions, 11 waiting (see lanes)
-- reply { words, all of versions, then worker id and state of each worker, and for each process that has leases the field
--       that tells which, and their number }. Words: time ms, pending and waiting, processing, completed, failed, dead
--       letters, in flight, expired, next deadline or -, delayed, due, next due or -, counter or -
-- cost  O(log N) and O(workers)
--#include base
--#include types
local now = now_ms()

-- How many there are, how many of them have had their time, and the first time.
local function timed(zset)
  local first = tonumber(call('ZRANGE', zset, 0, 0, 'WITHSCORES')[2])
  if not first then return '0 0 -' end
  return string.format('%d %d %d', call('ZCARD', zset), first <= now and call('ZCOUNT', zset, '-inf', now) or 0, first)
end

-- How many leases a process has, by what is kept of them: `time token …`. Tokens ascend as long as their counter is not
-- lost, so nearly always the first is as long as the last, and then all are: to count many one by one takes ten times as long
-- as all else here.
local function number_of(leased)
  local start = string.find(leased, ' ', 1, true)
  if not start then return 0 end
  local first, all = string.match(leased, '^ %d+', start), #leased - start + 1
  local last = string.sub(leased, -#first)
  if all % #first == 0 and string.find(last, '^ %d+$') and first <= last then return all / #first end
  return select(2, string.gsub(leased, ' ', ''))
end

local function read()
  local pending, completed, failed, dead, delayed = call('LLEN', KEYS[1]), 0, 0, 0, '0 0 -'
  -- Most queues have none of these.
  if call('EXISTS', KEYS[3], KEYS[4], KEYS[5], KEYS[8], KEYS[11]) > 0 then
    completed, failed, dead, delayed = call('LLEN', KEYS[3]), call('LLEN', KEYS[4]), call('LLEN', KEYS[5]), timed(KEYS[8])
    pending = pending + call('ZCARD', KEYS[11])
  end
  local reply = { string.format('%d %d %d %d %d %d %s %s %s', now, pending, call('LLEN', KEYS[2]), completed, failed, dead,
    timed(KEYS[6]), delayed, call('GET', KEYS[7]) or '-'), call('HGETALL', KEYS[10]) }
  local fields = call('HGETALL', KEYS[9])
  for i = 1, #fields, 2 do
    local id, value = fields[i], fields[i + 1]
    if string.sub(id, 1, 5) == 'held:' then value = number_of(value) end
    if value ~= 0 then reply[#reply + 1], reply[#reply + 2] = id, value end
  end
  return reply
end

local done, found = pcall(read)
if done then return found end
-- The server says neither which key it was nor what it holds.
if string.find(type(found) == 'table' and found.err or found, 'WRONGTYPE', 1, true) then
  local checked, named = pcall(check, { KEYS[1], 'list', KEYS[2], 'list', KEYS[3], 'list', KEYS[4], 'list', KEYS[5], 'list',
    KEYS[6], 'zset', KEYS[7], 'string', KEYS[8], 'zset', KEYS[9], 'hash', KEYS[10], 'hash', KEYS[11], 'zset' })
  if checked and named then return named end
end
error(found, 0)
