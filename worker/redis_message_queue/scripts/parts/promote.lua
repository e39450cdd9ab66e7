-- Put due delayed messages to the tail of pending, the earliest due next: at most `most`, and while others wait there only
-- every other of the `wanted` places (nil: no such share), so that what is retried soon and often holds up nobody.
local function promote(L, delayed, now, most, wanted)
  if wanted and call('LLEN', L.pending) > 0 then
    most = math.floor((wanted + (tonumber(call('GET', L.counter)) or 0) % 2) / 2)
  end
  local due = most > 0 and call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, most) or {}
  if #due > 0 then ensure(L) end
  for i = #due, 1, -1 do
    call('RPUSH', L.pending, due[i])
    or_undo(pcall_redis('ZREM', delayed, due[i]), 'RPOP', L.pending)
  end
end
