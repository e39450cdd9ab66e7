-- Messages that are in flight no more count no more for their limit keys, whose lanes are looked at again.
local function give_back(lanes, ended)
  for from = 1, #ended, 300 do
    local members, again, seen = {}, {}, {}
    for i = from, math.min(#ended, from + 299) do
      local lane = lane_of(ended[i])
      if lane and #lane > 1 then
        local key = string.sub(lane, 2)
        members[#members + 1], seen[key] = key .. '\0' .. ended[i], true
      end
    end
    -- None has to be looked at where none waits for a limit.
    if members[1] and call('ZREM', lanes.in_flight, unpack(members)) > 0
        and call('ZCOUNT', lanes.turns, '0', '+inf') > 0 then
      for key in pairs(seen) do
        for level = 0, 2 do again[#again + 1], again[#again + 2] = '0', level .. key end
      end
      call('ZADD', lanes.turns, 'XX', 'LT', unpack(again))
    end
  end
end
