-- Before a claim: what limits let it begin (`limits`: every, burst and most for the queue, then for each key, and 1 from who
-- claims for the first time; '-' for none), of whom; `leaving` are in flight no more. `later` is when to look again at a key that has all in flight that it may have.
local function prepare(lanes, limits, want, now_us, later, number, leaving)
  local grant, now, key = { want = want, owners = {} }, math.floor(now_us / 1000), nil
  if limits ~= '-' then
    local every, burst, most, key_every, key_burst, key_most, new = string.match(limits, '^([^,]+),([^,]+),([^,]+),([^,]+),([^,]+),([^,]+),?(1?)$')
    if every ~= '0' or most ~= '0' then
      local whole, state = of_queue(lanes, every, burst, most, now, leaving)
      grant.whole, grant.state, lanes.known, grant.want = whole, state, state.known, math.min(want, state.room)
    end
    if key_every ~= '0' or key_most ~= '0' then
      key = { every = tonumber(key_every), burst = tonumber(key_burst), most = tonumber(key_most) }
      -- Lanes wait as long as other limits said, perhaps, or a clock that was put back since: longer than any of these limits
      -- says. Those are looked at now; and, by who claims for the first time, all that would wait longest.
      local longest = math.max(later, now + (key.burst + 1) * key.every) + 1000
      local again, last = {}, call('ZRANGE', lanes.turns, -1, -1, 'WITHSCORES')
      if new == '1' or last[1] and tonumber(last[2]) > longest then
        last = call('ZRANGE', lanes.turns, -1000, -1, 'WITHSCORES')
        longest = new == '1' and now or longest
        for i = 1, #last, 2 do
          if tonumber(last[i + 1]) > longest then again[#again + 1], again[#again + 2] = 0, last[i] end
        end
      end
      if again[1] then call('ZADD', lanes.turns, 'XX', unpack(again)) end
    end
  end
  grant.key = key
  if grant.want > 0 and (key or lanes.used) then
    --#include undo
    --#include stage
    local ready, cut = nil, grant.want > 1000 -- more values than Lua can pass to a command
    grant.want = math.min(grant.want, 1000)
    ready, grant.owners, grant.more = stage(lanes, grant.want, key, now_us, later, number)
    grant.more = grant.more or cut
    grant.laned = true
    if not ready then grant.want = 0 end
  end
  return grant
end

-- After it: count what was begun. Reply, where fewer than `asked` were, the ms until a lane lets the next go, and until the
-- limits of the queue do: each nil where nothing waits for that.
local function conclude(lanes, grant, asked, claimed, now)
  local whole, key, due, limited = grant.whole, grant.key, nil, nil
  local rates, in_flight, begun = {}, {}, {}
  for i = 1, key and #claimed or 0 do
    local state = grant.owners[claimed[i]]
    if state then
      begun[state] = (begun[state] or 0) + 1
      in_flight[#in_flight + 1], in_flight[#in_flight + 2] = '0', state.key .. '\0' .. claimed[i]
    end
  end
  -- What was brought for a key and not begun, being cancelled or a dead letter by now, holds up no other of that key.
  local again, seen = {}, {}
  for _, state in pairs(grant.owners) do
    if state.taken > (begun[state] or 0) and not seen[state] then
      seen[state] = true
      for level = 0, 2 do again[#again + 1], again[#again + 2] = 0, level .. state.key end
    end
  end
  if again[1] then call('ZADD', lanes.turns, 'XX', 'LT', unpack(again)) end
  if key and key.every > 0 then
    for state, count in pairs(begun) do
      rates[#rates + 1], rates[#rates + 2] = state.full_at + count * key.every, state.key
    end
  end
  if whole then grant.state.taken = #claimed end
  if whole and whole.every > 0 and claimed[1] then
    rates[#rates + 1], rates[#rates + 2] = grant.state.full_at + #claimed * whole.every, ''
  end
  local now_and_then = now % 16 == 0
  if rates[1] then
    call('ZADD', lanes.rates, unpack(rates))
    if now_and_then or not lanes.known then
      pcall_redis('PEXPIRE', lanes.rates, 2678400000)
      -- Those that have their whole burst are as unknown ones: about a thousand go, for after a pause it may be all.
      local last = call('ZRANGE', lanes.rates, 1000, 1000, 'WITHSCORES')[2]
      pcall_redis('ZREMRANGEBYSCORE', lanes.rates, '-inf', last and tonumber(last) < now and last or '(' .. text(now))
    end
  end
  if in_flight[1] and key.most > 0 then
    call('ZADD', lanes.in_flight, unpack(in_flight))
    if now_and_then or call('ZCARD', lanes.in_flight) == #in_flight / 2 then pcall_redis('PEXPIRE', lanes.in_flight, 2678400000) end
  end
  if #claimed == asked then return end
  if whole and #claimed == grant.state.room then limited = free_at(whole, grant.state, now, now + 1000) - now end
  if grant.more then
    due = 0
  elseif grant.laned then
    local first = call('ZRANGEBYSCORE', lanes.turns, 0, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
    due = first and math.max(0, first - now)
  end
  return due, limited
end
