-- All numbers of one queue at one moment. Writes nothing.
-- KEYS  1 pending, 2 processing, 3 completed, 4 failed, 5 dead letters, 6 deadlines, 7 counter, 8 delayed, 9 workers,
--       10 versions, 11 waiting (see lanes)
-- reply { time ms, pending and waiting, processing, completed, failed, dead letters, in flight, expired, next deadline or '',
--       delayed, due, next due or '', counter or '', all of versions, then worker id and state of each worker, and
--       for each process that holds some the field that tells which, and their number }
-- cost  O(log N) and O(workers)
--#include base
local now = text(now_ms())
local reply = { now, text(call('LLEN', KEYS[1]) + call('ZCARD', KEYS[11])) }
for i = 2, 5 do
  reply[#reply + 1] = text(call('LLEN', KEYS[i]))
end
for _, zset in ipairs({ KEYS[6], KEYS[8] }) do
  local first = call('ZRANGE', zset, 0, 0, 'WITHSCORES')
  reply[#reply + 1] = text(call('ZCARD', zset))
  reply[#reply + 1] = text(call('ZCOUNT', zset, '-inf', now))
  reply[#reply + 1] = first[2] and text(tonumber(first[2])) or ''
end
reply[#reply + 1] = call('GET', KEYS[7]) or ''
reply[#reply + 1] = call('HGETALL', KEYS[10])
local fields = call('HGETALL', KEYS[9])
for i = 1, #fields, 2 do
  local id, value = fields[i], fields[i + 1]
  if string.sub(id, 1, 5) == 'held:' then value = select(2, string.gsub(value, ' ', '')) end
  if value ~= 0 then reply[#reply + 1], reply[#reply + 2] = id, value end
end
return reply
