local AT_ONCE = 1000 -- Lua can only pass so many values to one command

-- HDEL or ZREM of many.
local function drop(command, key, values)
  for from = 1, #values, AT_ONCE do
    call(command, key, unpack(values, from, math.min(#values, from + AT_ONCE - 1)))
  end
end

-- Take out of processing what these tokens still lease: `all` are { stored, token, … }, in this order. Before that, if
-- there is a place(one), it writes each to its next place, and gives the command that undoes that. The leases go last,
-- so no failure in between can lose a message. Each one.applied is 1, or 0 where the lease was lost.
local function settle(keys, all, place)
  local gone = {}
  for _, one in ipairs(all) do
    local stored, token = one[1], one[2]
    one.applied = 0
    if call('HGET', keys.tokens, stored) == token then
      if place then
        one.applied = take_out(keys, stored, token, place(one))
      else
        one.applied = take_out(keys, stored, token)
      end
    end
    if one.applied == 1 then gone[#gone + 1] = stored end
  end
  drop('HDEL', keys.tokens, gone)
  drop('ZREM', keys.deadlines, gone)
  if keys.records == false then return end
  for _, one in ipairs(all) do
    if one.applied == 1 then forget_records(keys, one[2]) end
  end
end
