-- What a claim is to have from the lanes is brought to the tail of pending, where it is claimed next; the rest of the claim need
-- not know of them. `limit` is what holds for each key, or nil; `number` counts claims, `now_us` are microseconds. Replies whether the
-- claim may go on; by message, what is counted for its key; whether there is more to look at.
local function stage(lanes, want, limit, now_us, later, number)
  local pending, waiting, turns, now = lanes.pending, lanes.waiting, lanes.turns, math.floor(now_us / 1000)
  local unkeyed, clean = call('LRANGE', pending, -want, -1), true
  for i = 1, #unkeyed do
    if lane_of(unkeyed[i]) then clean = false end
  end
  if not clean then
    --#include put_in_lanes
    if not put_in_lanes(lanes, want, now_us) then return false, {}, true end
    unkeyed = call('LRANGE', pending, -want, -1)
  end
  local moved = {}
  -- Turns that are yet to come, since the clock was set back, would all be after those that are given out meanwhile: now and
  -- then these lanes get a turn of now, in their order.
  if number % 64 + want > 63 then
    for level = 0, 2 do
      local from = (level - 3) * TURNS
      local ahead = call('ZRANGEBYSCORE', turns, text(from + now_us + 1000000), '(' .. text(from + TURNS), 'LIMIT', 0, 100)
      for i, lane in ipairs(ahead) do
        moved[2 * i - 1], moved[2 * i] = turn_of(lane, now_us - 100 + i), lane
      end
      if moved[1] then call('ZADD', turns, unpack(moved)) end
      moved = {}
    end
  end
  local first = call('ZRANGEBYSCORE', turns, '-inf', '(0', 'LIMIT', 0, want)
  if limit or #first < want then
    for i, lane in ipairs(call('ZRANGEBYSCORE', turns, 0, limit and now or '+inf', 'LIMIT', 0, 100)) do
      moved[2 * i - 1], moved[2 * i] = turn_of(lane, now_us - 100 + i), lane
    end
    if moved[1] then
      call('ZADD', turns, unpack(moved))
      first, moved = call('ZRANGEBYSCORE', turns, '-inf', '(0', 'LIMIT', 0, want), {}
    end
  end

  -- The lanes of each level, in their turn: as many as may be needed at first, and more of a level when its own do not do.
  local ready, states, looked, more = { [0] = {}, {}, {} }, {}, {}, false
  local nothing, ceil, sub = {}, math.ceil, string.sub
  local function add(names)
    local keys = {}
    for i = 1, #names do
      local lane = names[i]
      local here = ready[string.byte(lane) - 48]
      local one = { lane = lane, key = nil, taken = 0, at = 0, got = 0, members = nothing, whole = false, looked = false }
      here[#here + 1] = one
      if limit then
        local key = sub(lane, 2)
        one.key = key
        if key ~= '' and not states[key] then keys[#keys + 1], states[key] = key, { key = key, taken = 0 } end
      end
    end
    if not keys[1] then return end
    local known = limit.every > 0 and call('ZMSCORE', lanes.rates, unpack(keys)) or {}
    for i = 1, #keys do
      local state, in_flight = states[keys[i]], 0
      if limit.most > 0 then in_flight = call('ZLEXCOUNT', lanes.in_flight, run_of(keys[i])) end
      state.full_at, state.in_flight = full_at(limit, now, known[i]), in_flight
      if limit.most > 0 and in_flight >= limit.most then
        --#include forget_gone
        state.in_flight = in_flight - forget_gone(lanes, keys[i])
      end
      state.room = room_of(limit, now, state.full_at, state.in_flight)
      lanes.known = lanes.known or known[i]
    end
  end
  local all = #first < want
  add(first)

  local staged, members, owners, taken = { [0] = {}, {}, {} }, {}, {}, 0
  -- Up to `most` of a level, one after another of its lanes.
  local function take(level, most)
    local here, to_claim, got, pages = ready[level], staged[level], 0, 0
    here.head = here.head or 1
    while got < most do
      local one = here[here.head]
      if not one then
        if all or here.all then return got end
        if pages == 4 then
          more = true
          return got
        end
        local from = (level - 3) * TURNS
        here.read = here.read or #here
        local names = call('ZRANGEBYSCORE', turns, text(from), '(' .. text(from + TURNS), 'LIMIT', here.read, 32)
        pages, here.read, here.all = pages + 1, here.read + #names, #names < 32
        add(names)
      else
        local state = limit and states[one.key]
        here.head = here.head + 1
        if not one.looked then looked[#looked + 1], one.looked = one, true end
        if not state or state.taken < state.room then
          if one.at == one.got and not one.whole then
            local lane, share = one.lane, ceil((most - got) / (#here - here.head + 2)) + 1
            local found = call('ZRANGEBYLEX', waiting, '[' .. lane .. '\0', '(' .. lane .. '\1', 'LIMIT', one.taken, share)
            one.members, one.at, one.got = found, 0, #found
            one.whole = one.got < share
          end
          if one.at < one.got then
            local member = one.members[one.at + 1]
            one.at, one.taken, got, taken = one.at + 1, one.taken + 1, got + 1, taken + 1
            here[#here + 1] = one
            local stored = sub(member, #one.lane + 19)
            members[taken], to_claim[#to_claim + 1] = member, stored
            if state then state.taken, owners[stored] = state.taken + 1, state end
          end
        end
      end
    end
    return got
  end

  -- What has no key at all, in pending, and the keys of the normal level take every other place.
  local served = 0
  local function take_normal(most)
    local own = math.min(#unkeyed - served, math.floor((most + number % 2) / 2))
    local got = take(1, most - own)
    own = math.min(#unkeyed - served, most - got)
    served = served + own
    return got + own + take(1, most - got - own)
  end

  -- While higher levels have work, one claim in eight goes to each lower one.
  local left, urgent, eighth = want, ready[0][1], number % 8 + want
  if (urgent or ready[1][1] or unkeyed[1]) and eighth > 7 then left = left - take(2, 1) end
  if urgent and left > 0 and (eighth > 11 or number % 8 < 4 and eighth > 3) then left = left - take_normal(1) end
  if left > 0 and urgent then left = left - take(0, left) end
  if left > 0 then left = left - take_normal(left) end
  if left > 0 then take(2, left) end

  if members[1] then
    local reversed = {}
    for level = 2, 0, -1 do
      for i = #staged[level], 1, -1 do reversed[#reversed + 1] = staged[level][i] end
    end
    call('RPUSH', pending, unpack(reversed))
    or_undo(pcall_redis('ZREM', waiting, unpack(members)), 'LTRIM', pending, 0, -1 - #members)
  end
  local emptied = {}
  for i = 1, #looked do
    local one, at = looked[i], nil
    local state = limit and states[one.key]
    if one.at == one.got and (one.whole or call('ZLEXCOUNT', waiting, run_of(one.lane)) == 0) then
      emptied[#emptied + 1] = one.lane
    else
      at = state and state.taken >= state.room and free_at(limit, state, now, later) or turn_of(one.lane, now_us + i)
      moved[#moved + 1], moved[#moved + 2] = at, one.lane
    end
  end
  if moved[1] then call('ZADD', turns, unpack(moved)) end
  if emptied[1] then call('ZREM', turns, unpack(emptied)) end
  return true, owners, more
end
