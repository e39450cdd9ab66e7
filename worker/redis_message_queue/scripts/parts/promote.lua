-- Put due delayed messages to the tail of pending, the earliest due next: at most `most`, and while others wait there, or in
-- a lane that may go, only every other of the `wanted` places (nil: no such share), so that what is retried soon and often
-- holds up nobody.
local function promote(keys, delayed, now, most, wanted)
  if wanted and (call('LLEN', keys.pending) > 0 or call('ZCOUNT', keys.turns, '-inf', now) > 0) then
    most = math.floor((wanted + (tonumber(call('GET', keys.counter)) or 0) % 2) / 2)
  end
  local due = most > 0 and call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, most) or {}
  if #due > 0 then ensure(keys) end
  for i = #due, 1, -1 do
    call('RPUSH', keys.pending, due[i])
    or_undo(pcall_redis('ZREM', delayed, due[i]), 'RPOP', keys.pending)
  end
end
