-- Forget what a key is thought to have in flight although it has no lease any more: a peer that knows no limits took it back.
local function forget_gone(lanes, key)
  local from, to = run_of(key)
  local members, stored, gone = call('ZRANGEBYLEX', lanes.in_flight, from, to, 'LIMIT', 0, 200), {}, {}
  for i = 1, #members do stored[i] = string.sub(members[i], #key + 2) end
  local leases = members[1] and call('ZMSCORE', lanes.deadlines, unpack(stored)) or {}
  for i = 1, #members do
    if not leases[i] then gone[#gone + 1] = members[i] end
  end
  if gone[1] then call('ZREM', lanes.in_flight, unpack(gone)) end
  return #gone
end
