-- Remove the deduplication marker of a message that is given up, so that it may be published again; not that of another,
-- which holds the key since the time of the first was over. One that names nobody (of 7.0.0) may be its own.
local function free_key(marker, id)
  local holder = pcall_redis('GET', marker)
  if holder == id or holder == '' then pcall_redis('DEL', marker) end
end
