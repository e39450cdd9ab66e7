-- Put messages with an expired lease back to the tail of pending, earliest deadline next. Each is pushed before it is
-- taken out, so no failure in between can lose it. The batch shrinks as the list grows: removal is linear in it.
-- What came back is listed in keys.returned.
local function reclaim(keys, now)
  local found = call('ZRANGEBYSCORE', keys.deadlines, '-inf', now, 'WITHSCORES', 'LIMIT', 0, 100)
  if #found == 0 then return 0 end
  ensure(keys)
  keys.length = call('LLEN', keys.processing)
  local most = math.max(10, math.min(100, math.floor(500000 / math.max(1, keys.length))))
  local expired = {}
  for i = 1, math.min(#found, 2 * most), 2 do
    local token = call('HGET', keys.tokens, found[i])
    expired[#expired + 1] = { stored = found[i], token = token, deadline = tonumber(found[i + 1]),
      order = tonumber(token) or 0 }
  end
  -- A batch shares its deadline: then the tokens tell who was claimed first.
  table.sort(expired, function(a, b)
    if a.deadline ~= b.deadline then return a.deadline < b.deadline end
    return a.order < b.order
  end)
  local reclaimed = 0
  keys.returned = {}
  for i = #expired, 1, -1 do
    local stored, token = expired[i].stored, expired[i].token
    call('RPUSH', keys.pending, stored)
    if take_out(keys, stored, token, 'RPOP', keys.pending) == 1 then
      reclaimed = reclaimed + 1
      keys.returned[reclaimed] = stored
      if keys.lost then keys.lost(stored) end
    else
      call('HDEL', keys.counts, stored)
    end
    -- The deadline goes last: what a refused command leaves behind is reclaimed.
    call('HDEL', keys.tokens, stored)
    call('ZREM', keys.deadlines, stored)
    forget_records(keys, token)
  end
  return reclaimed
end
