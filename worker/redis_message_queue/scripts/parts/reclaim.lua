-- How many to put back at once: fewer as the list grows, for to take one out is linear in it.
local function most_at_once(keys)
  keys.length = call('LLEN', keys.processing)
  return math.max(10, math.min(100, math.floor(500000 / math.max(1, keys.length))))
end

-- Put these messages back to the tail of pending, earliest deadline next: { stored, token, deadline, order } each. Each
-- is pushed before it is taken out, so no failure in between can lose it. What came back is listed in keys.returned.
local function put_back(keys, expired)
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
      if keys.lost then keys.lost(keys, stored) end
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

-- The same with those whose leases have expired.
local function reclaim(keys, now)
  local found = call('ZRANGEBYSCORE', keys.deadlines, '-inf', now, 'WITHSCORES', 'LIMIT', 0, 100)
  if #found == 0 then return 0 end
  ensure(keys)
  local expired = {}
  for i = 1, math.min(#found, 2 * most_at_once(keys)), 2 do
    local token = call('HGET', keys.tokens, found[i])
    expired[#expired + 1] = { stored = found[i], token = token, deadline = tonumber(found[i + 1]),
      order = tonumber(token) or 0 }
  end
  return put_back(keys, expired)
end
