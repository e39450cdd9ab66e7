-- The messages of settlements that name them by { head, token, end of the lease as granted, length } instead of sending
-- them: looked up among those whose lease ends then. False where there is none such: it was renewed, or is somebody else's.
local function find(deadlines, tokens, named)
  local leased, wanted, heads, longest, found = {}, {}, {}, 0, {}
  for _, one in ipairs(named) do
    wanted[one[3]], heads[one[1]], longest = (wanted[one[3]] or 0) + 1, true, math.max(longest, #one[1])
  end
  for deadline, count in pairs(wanted) do
    -- A large claim shares its deadline: to read on would take longer than to be sent the message.
    local alike = {}
    for _, stored in ipairs(call('ZRANGEBYSCORE', deadlines, deadline, deadline, 'LIMIT', 0, count + 15)) do
      if heads[string.sub(stored, 1, longest)] then alike[#alike + 1] = stored end
    end
    local current = alike[1] and call('HMGET', tokens, unpack(alike))
    for i = 1, #alike do
      if current[i] then leased[current[i]] = alike[i] end
    end
  end
  for i, one in ipairs(named) do
    local stored = leased[one[2]]
    found[i] = stored and #stored == tonumber(one[4]) and string.sub(stored, 1, #one[1]) == one[1] and stored or false
  end
  return found
end
