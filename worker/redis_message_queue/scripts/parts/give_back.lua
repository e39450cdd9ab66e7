-- Messages that are in flight no more count no more for their limit keys, whose lanes are looked at again.
local function give_back(lanes, ended)
  for from = 1, #ended, 300 do
    local members, again, seen = {}, {}, {}
    for i = from, math.min(#ended, from + 299) do
      local key = string.sub(lane_of(ended[i]) or '', 2)
      if key ~= '' then
        members[#members + 1] = key .. '\0' .. ended[i]
        if not seen[key] then
          seen[key] = true
          for level = 0, 2 do again[#again + 1], again[#again + 2] = 0, level .. key end
        end
      end
    end
    if members[1] and call('ZREM', lanes.held, unpack(members)) > 0 then
      call('ZADD', lanes.turns, 'XX', 'LT', unpack(again))
    end
  end
end
