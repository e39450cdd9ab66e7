-- The state that a worker keeps in its field of the hash of workers; nil when there is none or it is unreadable.
local function worker_state(field)
  local ok, state = pcall(cjson.decode, field or '')
  if ok and type(state) == 'table' then return state end
end

local function is_retired(state, now)
  return state ~= nil and (tonumber(state.retire) or 0) > now
end

