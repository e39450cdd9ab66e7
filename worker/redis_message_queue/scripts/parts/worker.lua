-- The state that a worker keeps in the hash of workers; nil when there is none or it is unreadable.
local function worker_state(workers, id)
  local ok, state = pcall(cjson.decode, call('HGET', workers, id) or '')
  if ok and type(state) == 'table' then return state end
end

local function is_retired(state, now)
  return state ~= nil and (tonumber(state.retire) or 0) > now
end

