-- Put messages with an expired lease back to the tail of pending, earliest deadline next. Each is pushed before it is
-- taken out, so no failure in between can lose it. The batch shrinks as the list grows: removal is linear in it.
-- What came back is listed in L.returned.
local function reclaim(L, now)
  local found = call('ZRANGEBYSCORE', L.deadlines, '-inf', now, 'WITHSCORES', 'LIMIT', 0, 100)
  if #found == 0 then return 0 end
  ensure(L)
  L.length = call('LLEN', L.processing)
  local most = math.max(10, math.min(100, math.floor(500000 / math.max(1, L.length))))
  local expired = {}
  for i = 1, math.min(#found, 2 * most), 2 do
    local token = call('HGET', L.tokens, found[i])
    expired[#expired + 1] = { stored = found[i], token = token, deadline = tonumber(found[i + 1]),
      order = tonumber(token) or 0 }
  end
  -- A batch shares its deadline: then the tokens tell who was claimed first.
  table.sort(expired, function(a, b)
    if a.deadline ~= b.deadline then return a.deadline < b.deadline end
    return a.order < b.order
  end)
  local reclaimed = 0
  L.returned = {}
  for i = #expired, 1, -1 do
    local stored, token = expired[i].stored, expired[i].token
    call('RPUSH', L.pending, stored)
    if take_out(L, stored, token, 'RPOP', L.pending) == 1 then
      reclaimed = reclaimed + 1
      L.returned[reclaimed] = stored
      if L.lost then L.lost(stored) end
    else
      call('HDEL', L.counts, stored)
    end
    -- The deadline goes last: what a refused command leaves behind is reclaimed.
    call('HDEL', L.tokens, stored)
    call('ZREM', L.deadlines, stored)
    forget_records(L, token)
  end
  return reclaimed
end
