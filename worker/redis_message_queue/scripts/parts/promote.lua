-- Put due delayed messages to the tail of pending, the earliest due next.
local function promote(L, delayed, now, most)
  local due = call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, most)
  if #due > 0 then ensure(L) end
  for i = #due, 1, -1 do
    call('RPUSH', L.pending, due[i])
    or_undo(pcall_redis('ZREM', delayed, due[i]), 'RPOP', L.pending)
  end
end
