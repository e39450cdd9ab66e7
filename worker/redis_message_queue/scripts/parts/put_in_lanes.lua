-- What stands at the tail of pending although it has a lane goes to the front of that: it is the first, by which a consumer was
-- woken, or has come back, or is due. True once none is left among the last `want`.
local function put_in_lanes(lanes, want, now_us)
  local pending, width = lanes.pending, want
  for _ = 1, 16 do
    local groups, order = {}, {}
    for _, stored in ipairs(call('LRANGE', pending, -width, -1)) do
      local lane = lane_of(stored)
      if lane then
        if not groups[lane] then groups[lane], order[#order + 1] = {}, lane end
        table.insert(groups[lane], stored)
      end
    end
    if not order[1] then return true end
    for _, lane in ipairs(order) do
      -- The turn comes first: without one nobody would look for what is in the lane.
      if call('ZADD', lanes.turns, 'NX', turn_of(lane, now_us), lane) == 0 then
        call('ZADD', lanes.turns, 'XX', 'LT', 0, lane) -- what is in flight for it may have changed
      end
      local from, to = run_of(lane)
      local first = call('ZRANGEBYLEX', lanes.waiting, from, to, 'LIMIT', 0, 1)[1]
      local before = first and tonumber(string.sub(first, #lane + 2, #lane + 17)) or 1e15
      for i, stored in ipairs(groups[lane]) do
        local member = lane .. '\0' .. string.format('%016.0f', before - i) .. '\0' .. stored
        call('ZADD', lanes.waiting, 0, member)
        or_undo(pcall_redis('LREM', pending, -1, stored), 'ZREM', lanes.waiting, member)
      end
    end
    width = math.max(want, 64)
  end
  return false
end
