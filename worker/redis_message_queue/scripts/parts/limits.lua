-- A limit is { every (ms between two, 0: no rate), burst, most (in flight, 0: any number) }. How many more it lets go:
-- `full_at` is when its bucket has the whole burst again (ms).
local function room_of(limit, now, full_at, in_flight)
  local room = math.huge
  if limit.every > 0 then room = math.floor(limit.burst - (full_at - now) / limit.every + 1e-6) end
  if limit.most > 0 then room = math.min(room, limit.most - in_flight) end
  return math.max(0, room)
end

-- When its bucket is full again. What is later than an empty one would be was written under a slower rate, and holds no
-- more; nor a second beyond that, by which clocks may differ.
local function full_at(limit, now, known)
  known = tonumber(known or 0)
  return known > now + limit.burst * limit.every + 1000 and now or math.max(now, known)
end

-- When it lets another one go, after those that were `taken`.
local function free_at(limit, state, now, later)
  local at = now
  if limit.every > 0 then at = state.full_at + (state.taken + 1 - limit.burst) * limit.every end
  if limit.most > 0 and state.in_flight + state.taken >= limit.most then at = math.max(at, later) end
  return math.ceil(at)
end

-- The limit of the queue itself, and where it stands.
local function of_queue(lanes, every, burst, most, now, leaving)
  local whole = { every = tonumber(every), burst = tonumber(burst), most = tonumber(most) }
  local known = whole.every > 0 and call('ZSCORE', lanes.rates, '')
  local state = { full_at = full_at(whole, now, known), taken = 0, known = known }
  state.in_flight = whole.most > 0 and call('ZCARD', lanes.deadlines) - leaving or 0
  state.room = room_of(whole, now, state.full_at, state.in_flight)
  return whole, state
end
