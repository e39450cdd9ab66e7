-- The worker whose lease has this token, as far as workers keep account of that: its id, or ''.
local function leased_by(workers, token)
  local fields = token and call('HGETALL', workers) or {}
  local instance
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 5) == 'held:' and string.find(fields[i + 1] .. ' ', ' ' .. token .. ' ', 1, true) then
      instance = string.sub(fields[i], 6)
    end
  end
  for i = 1, instance and #fields or 0, 2 do
    local state = worker_state(fields[i + 1])
    if state and state.instance == instance then return fields[i] end
  end
  return ''
end
